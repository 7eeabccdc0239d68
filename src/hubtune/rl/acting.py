"""Playing, and remembering it."""

from typing import Any, final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from hubtune.rl.distribution import values
from hubtune.rl.replay import Replay
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.rl.world import World
from hubtune.training.predictor import Predictor
from hubtune.training.seeds import derive


class Stack:
    """The newest frames of a game, oldest first; black before it began."""

    def __init__(self, history: int, frame: UInt8[np.ndarray, "s s"]):
        self._frames = np.zeros((history, *frame.shape), dtype=np.uint8)
        self.add(frame)

    def add(self, frame: UInt8[np.ndarray, "s s"]) -> None:
        self._frames = np.concatenate([self._frames[1:], frame[None]])

    @property
    def frames(self) -> UInt8[np.ndarray, "c s s"]:
        return self._frames


@torch.no_grad()
def best_actions(policy: Predictor, stacks: UInt8[np.ndarray, "B c s s"], support: Tensor) -> list[int]:
    """The action of the highest expected return for each stack."""
    canvas = torch.from_numpy(stacks).to(support.device)
    return values(policy(canvas), support).argmax(1).tolist()


@final
class Player:
    """Plays one game after another, and puts every step into a replay.

    The seed of each game follows from the player's. A game under way is remembered as its seed and the actions since: to go on with it,
    it is played again up to there.
    """

    def __init__(self, world: World, settings: DataEfficientRainbow, seed: int):
        self._world = world
        self._settings = settings
        self._seed = seed
        self._games = 0
        self._begin()

    def _begin(self) -> None:
        self._frame = self._world.reset(derive(self._seed, "game", self._games))
        self._stack = Stack(self._settings.history, self._frame)
        self._actions: list[int] = []
        self._score = 0.0

    @property
    def stack(self) -> UInt8[np.ndarray, "c s s"]:
        """What the agent sees now."""
        return self._stack.frames

    def play(self, action: int, replay: Replay) -> tuple[float, int] | None:
        """Do an action.

        Returns:
            Score and steps of the game, where it has ended.
        """
        first, frame = not self._actions, self._frame.copy()  # a world may draw every frame into one buffer
        outcome = self._step(action)
        ended = outcome.over or (outcome.died and self._settings.life_loss_ends)
        replay.add(frame, action, self._settings.clipped(outcome.reward), ended=ended, cut=outcome.cut, first=first)
        if not (outcome.over or outcome.cut):
            return None
        finished = self._score, len(self._actions)
        self._games += 1
        self._begin()
        return finished

    def _step(self, action: int):
        outcome = self._world.step(action)
        self._frame = outcome.frame
        self._stack.add(outcome.frame)
        self._actions.append(action)
        self._score += outcome.reward
        return outcome

    def state_dict(self) -> dict[str, Any]:
        """The game under way."""
        return {"games": self._games, "actions": torch.tensor(self._actions, dtype=torch.long)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the game under way again up to where it was."""
        self._games = state["games"]
        self._begin()
        for action in state["actions"].tolist():
            self._step(action)
