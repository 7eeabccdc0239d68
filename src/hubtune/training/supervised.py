"""Learning from labels alone: one predictor, one optimizer, one schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hubtune.tasks import Task
from hubtune.training.learner import Batch, Learner
from hubtune.training.predictor import Predictor, keep_statistics
from hubtune.training.runtime import Runtime
from hubtune.training.schedules import MILESTONES, Schedule, learning_rate_factor

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How gradients become steps."""

    learning_rate: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = "step"
    warmup: float = 0.0
    layer_decay: float = 1.0
    clip_gradient: float | None = None
    milestones: tuple[float, ...] = MILESTONES


def layer_decay_groups(network: nn.Module, learning_rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups whose learning rate shrinks by ``decay`` with each level of depth below the head.

    The depth of a parameter is the order in which its block was made: the network's blocks are its modules two levels down.
    """
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    parameters = dict(network.named_parameters())
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(".".join(name.split(".")[:-1][:4]), []).append(name)
    depth = len(blocks)
    return [
        {"params": [parameters[name] for name in members], "lr": learning_rate * decay ** (depth - 1 - level)}
        for level, members in enumerate(blocks.values())
    ]


def make_optimizer(network: nn.Module, options: Optimization, groups: list[dict[str, Any]] | None = None) -> torch.optim.Optimizer:
    """The optimizer over every parameter that requires a gradient, or over the groups given."""
    if groups is None and options.layer_decay == 1.0:
        groups = [{"params": [p for p in network.parameters() if p.requires_grad]}]
    elif groups is None:
        groups = layer_decay_groups(network, options.learning_rate, options.layer_decay)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        groups, lr=options.learning_rate, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
    )


Objective = Callable[[Batch], Tensor]
"""From a batch to the loss of each of its rows, (B,)."""


class SupervisedLearner(Learner):
    """Minimise the mean of a loss over labelled batches: the task's, unless an objective is given."""

    def __init__(
        self,
        predictor: Predictor,
        task: Task,
        *,
        steps: int,
        optimization: Optimization,
        runtime: Runtime,
        frozen_batch_norm: bool = False,
        label_smoothing: float = 0.0,
        objective: Objective | None = None,
        companions: nn.Module | None = None,
    ):
        """
        Args:
            predictor: the network to train, of which parameters that require no gradient stay as they are.
            steps: length of the schedule.
            frozen_batch_norm: keep the backbone's BatchNorm statistics as they were pre-trained.
            label_smoothing: probability mass given to all classes alike, in [0, 1).
            objective: the losses (B,) of a batch, in place of the task's; it runs the predictor itself.
            companions: what is trained beside the predictor for the objective's sake, and dropped with it.
        """
        self.steps = steps
        self._task = task
        self._runtime = runtime
        self._options = optimization
        self._smoothing = label_smoothing
        self._predictor = predictor.to(runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._frozen = frozen_batch_norm
        self._objective = objective or self._task_losses
        self._companions = (companions or nn.Module()).to(runtime.device)
        self._trained = nn.ModuleList([self._predictor, self._companions])
        self._optimizer = make_optimizer(self._trained if companions else self._predictor, optimization)
        self._first_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._chunks = 1

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        factor = learning_rate_factor(self._options.schedule, progress, self._options.warmup, self._options.milestones)
        for group, rate in zip(self._optimizer.param_groups, self._first_rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        self._train_mode()
        total = torch.zeros((), device=batch.canvas.device)
        size = -(-len(batch) // self._chunks)
        for start in range(0, len(batch), size):
            rows = batch.rows(start, start + size)
            with self._runtime.autocast():
                losses = self._objective(rows)
            loss = losses.float().sum() / len(batch)
            loss.backward()
            total += loss.detach()
        self._runtime.average_gradients(self._trained.parameters())
        if self._options.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self._trained.parameters(), self._options.clip_gradient)
        self._optimizer.step()
        return {"loss": total, "learning_rate": torch.tensor(self._options.learning_rate * factor)}

    def _task_losses(self, batch: Batch) -> Tensor:
        return self._task.loss(self._predictor(batch.canvas), batch.targets, label_smoothing=self._smoothing)

    def _train_mode(self) -> None:
        """Set before every step: an evaluation in between switches the whole predictor."""
        self._trained.train()
        if self._frozen:
            keep_statistics(self._predictor)

    def halve_chunks(self) -> bool:
        self._chunks *= 2
        return self._chunks <= 512

    def predictor(self) -> Predictor:
        return self._predictor

    def state_dict(self) -> dict[str, Any]:
        networks = {"predictor": self._predictor.state_dict(), "companions": self._companions.state_dict()}
        return {**networks, "optimizer": self._optimizer.state_dict(), "chunks": self._chunks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._predictor.load_state_dict(state["predictor"])
        self._companions.load_state_dict(state["companions"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._chunks = state["chunks"]
