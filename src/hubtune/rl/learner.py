"""Data-Efficient Rainbow: acting, remembering and learning, one agent step at a time."""

import copy
import time
from abc import ABC, abstractmethod
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hubtune.nets import draw_noise
from hubtune.rl.acting import Player, best_actions
from hubtune.rl.distribution import cross_entropy, of_actions, project, support, values
from hubtune.rl.replay import Replay, Transitions
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.rl.world import World
from hubtune.training.learner import Batch, Learner
from hubtune.training.predictor import Predictor
from hubtune.training.seeds import derive


class Objective(ABC):
    """What a network is taught by, beside the target distributions. Abstract."""

    def companions(self) -> nn.Module | None:
        """What is trained beside the network and not deployed; nothing by default."""
        return None

    @abstractmethod
    def losses(self, batch: Transitions, target: Float[Tensor, "B N"]) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        """
        Args:
            target: m, the distribution of each transition's return.

        Returns:
            What is minimised, and L_task of each transition, unweighted: the priorities follow from it.
        """


@final
class Alone(Objective):
    """mean_b w_b CE(m_b, p_b): the network's own loss and nothing else."""

    def __init__(self, policy: Predictor):
        self._policy = policy

    def losses(self, batch: Transitions, target: Float[Tensor, "B N"]) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        losses = cross_entropy(self._policy(batch.canvas), batch.targets, target)
        return (batch.weights * losses).mean(), losses


@final
class RainbowLearner(Learner):
    """One agent step, and from ``learn_from`` on one step of learning each ``learn_every`` agent steps.

        a* = argmax_a E p(s_(t+n), a),  m = project(R + gamma^n Z with p'(s_(t+n), a*)),  loss_b = CE(m, p(s_t, a_t))

    p is the network, p' its copy of up to ``target_update`` agent steps ago. Noisy layers are drawn anew before each agent step and,
    in both networks, before each step of learning. The learner makes its own batches: what the loop hands over is empty.

    Source: Hessel et al. (2018), Rainbow; van Hasselt et al. (2019), appendix E.
    """

    def __init__(
        self, policy: Predictor, objective: Objective, settings: DataEfficientRainbow, world: World, *, seed: int, device: torch.device
    ):
        self.steps = settings.steps
        self._settings = settings
        self._device = device
        self._policy = policy.to(device).train()
        self._target = copy.deepcopy(self._policy).requires_grad_(False)
        self._objective = objective
        companions = objective.companions()
        self._trained = nn.ModuleList([self._policy, *([] if companions is None else [companions.to(device)])])
        self._optimizer = torch.optim.Adam(
            [parameter for parameter in self._trained.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            eps=settings.adam_epsilon,
            fused=device.type in ("cpu", "cuda"),  # one pass over many small tensors
        )
        self._support = support(settings.atoms, settings.lowest_return, settings.highest_return).to(device)
        self._player = Player(world, settings, derive(seed, "player"))
        self.replay = Replay(
            min(settings.replay_capacity, settings.steps),
            settings.frame_size,
            history=settings.history,
            n_step=settings.n_step,
            discount=settings.discount,
            exponent=settings.priority_exponent,
        )
        self._step = 0
        self.games: list[list[float]] = []
        """Of each finished game: the agent step at its end, its score, its agent steps."""
        self.seconds = 0.0
        """Spent in agent steps, evaluations and checkpoints left out."""

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        settings, started = self._settings, time.perf_counter()
        self._policy.train()
        draw_noise(self._policy)
        [action] = best_actions(self._policy, self._player.stack[None], self._support)
        finished = self._player.play(action, self.replay)
        self._step += 1
        if finished is not None:
            self.games.append([self._step, *finished])
        loss = torch.zeros((), device=self._device)
        if self._step > settings.learn_from and self._step % settings.learn_every == 0 and self.replay.ready:
            loss = self._learn(self.replay.draw(settings.batch_size, settings.importance_at(self._step), self._device))
        if self._step % settings.target_update == 0:
            self._target.load_state_dict(self._policy.state_dict())
        self.seconds += time.perf_counter() - started
        return {"loss": loss}

    def _learn(self, batch: Transitions) -> Tensor:
        draw_noise(self._trained)
        draw_noise(self._target)
        target = self.target(batch)
        total, losses = self._objective.losses(batch, target)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._trained.parameters(), self._settings.clip_gradient)
        self._optimizer.step()
        self.replay.learned(batch.indices, losses)
        return total.detach()

    @torch.no_grad()
    def target(self, batch: Transitions) -> Float[Tensor, "B N"]:
        """m: the action by the network, its distribution by the target network."""
        actions = values(self._policy(batch.later), self._support).argmax(1)
        probabilities = of_actions(self._target(batch.later), actions).softmax(1)
        return project(probabilities, batch.returns, batch.discounts, self._support)

    def predictor(self) -> Predictor:
        return self._policy

    def state_dict(self) -> dict[str, Any]:
        return {
            "trained": self._trained.state_dict(),
            "target": self._target.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "player": self._player.state_dict(),
            "replay": self.replay.state_dict(),
            "step": self._step,
            "games": self.games,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._trained.load_state_dict(state["trained"])
        self._target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._player.load_state_dict(state["player"])
        self.replay.load_state_dict(state["replay"])
        self._step, self.games = state["step"], [list(game) for game in state["games"]]
        self.seconds = state["seconds"]
