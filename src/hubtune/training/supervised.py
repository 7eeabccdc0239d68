"""Learning from labels alone: one predictor, one optimizer, one schedule."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hubtune.tasks import Task
from hubtune.training.learner import Batch, Learner
from hubtune.training.predictor import Predictor
from hubtune.training.runtime import Runtime
from hubtune.training.schedules import Schedule, learning_rate_factor

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


def make_optimizer(network: nn.Module, options: Optimization) -> torch.optim.Optimizer:
    """The optimizer over every parameter that requires a gradient."""
    if options.layer_decay == 1.0:
        groups: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if p.requires_grad]}]
    else:
        groups = layer_decay_groups(network, options.learning_rate, options.layer_decay)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        groups, lr=options.learning_rate, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
    )


class SupervisedLearner(Learner):
    """Minimise the mean of the task's loss over labelled batches."""

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
    ):
        """
        Args:
            predictor: the network to train, of which parameters that require no gradient stay as they are.
            steps: length of the schedule.
            frozen_batch_norm: keep BatchNorm statistics as they were pre-trained.
            label_smoothing: probability mass given to all classes alike, in [0, 1).
        """
        self.steps = steps
        self._task = task
        self._runtime = runtime
        self._options = optimization
        self._smoothing = label_smoothing
        self._predictor = predictor.to(runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._predictor.train()
        if frozen_batch_norm:
            for module in self._predictor.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self._optimizer = make_optimizer(self._predictor, optimization)
        self._first_rates = [group["lr"] for group in self._optimizer.param_groups]
        self._chunks = 1

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        factor = learning_rate_factor(self._options.schedule, progress, self._options.warmup)
        for group, rate in zip(self._optimizer.param_groups, self._first_rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=batch.canvas.device)
        size = -(-len(batch) // self._chunks)
        for start in range(0, len(batch), size):
            rows = batch.rows(start, start + size)
            with self._runtime.autocast():
                loss = self._loss(rows).float().sum() / len(batch)
            loss.backward()
            total += loss.detach()
        self._runtime.average_gradients(self._predictor.parameters())
        if self._options.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self._predictor.parameters(), self._options.clip_gradient)
        self._optimizer.step()
        return {"loss": total, "learning_rate": torch.tensor(self._options.learning_rate * factor)}

    def _loss(self, batch: Batch) -> Tensor:
        outputs = self._predictor(batch.canvas)
        if self._smoothing:
            return self._task.loss(outputs, batch.targets, label_smoothing=self._smoothing)
        return self._task.loss(outputs, batch.targets)

    def halve_chunks(self) -> bool:
        self._chunks *= 2
        return self._chunks <= 512

    def predictor(self) -> Predictor:
        return self._predictor

    def state_dict(self) -> dict[str, Any]:
        return {"predictor": self._predictor.state_dict(), "optimizer": self._optimizer.state_dict(), "chunks": self._chunks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._predictor.load_state_dict(state["predictor"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._chunks = state["chunks"]
