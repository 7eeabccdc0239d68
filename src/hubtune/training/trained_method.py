"""The fields that every method trained by gradient steps shares."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from hubtune.tasks import Task
from hubtune.training.method import Method
from hubtune.training.schedules import MILESTONES, Schedule
from hubtune.training.supervised import Optimization

Rate = Annotated[float, Field(gt=0, le=100)]
Rates = Literal["auto"] | Annotated[tuple[Rate, ...], Field(min_length=1)]
AUTO_RATES = (0.001, 0.0001)
"""First learning rates of AdamW: a bold one, and a careful one."""
PAPER_RATES = (0.1, 0.01)
"""Of SGD with momentum, for batches of 512."""

AUTO_EPOCHS = 8
"""Passes over the training images under ``steps="auto"``: a few hundred images train in seconds to minutes on two cores."""
AUTO_STEPS = (60, 2500)
"""Least and most steps under ``steps="auto"``."""


@dataclass(frozen=True, kw_only=True)
class TrainedMethod(Method):
    """A method with one training schedule. Abstract."""

    paper_steps: ClassVar[int] = 2500
    """Under ``protocol="paper"``, as the next two."""
    paper_batch_size: ClassVar[int] = 512
    milestones: ClassVar[tuple[float, ...]] = MILESTONES
    """Shares of the steps after which the step schedule multiplies by 0.1."""

    protocol: Literal["auto", "paper"] = "auto"
    """Where fields left at "auto" take their values from: the task's size, or the paper's own schedule."""
    steps: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Optimizer steps."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images a step; never more than there are training images."""
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    """AdamW under ``protocol="auto"``: with few images in a batch SGD needs a rate of its own for each architecture. The paper's is SGD."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    weight_decay: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """Coupled in SGD, decoupled in AdamW; "auto" is 0.01 with AdamW and 0 with SGD."""
    schedule: Literal["auto"] | Schedule = "auto"
    """step: x 0.1 at 30, 60 and 90 % of the steps. "auto" is cosine under ``protocol="auto"`` and step under "paper"."""
    warmup: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    """Share of the steps during which the learning rate grows from 0; "auto" is 0.1 under ``protocol="auto"`` and 0 under "paper"."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability mass given to all classes alike."""
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient; None leaves it."""
    batch_norm: Literal["train", "frozen"] = "train"
    """Whether BatchNorm uses the batch's statistics in training, or the pre-trained ones."""
    evaluations: Annotated[int, Field(ge=1)] = 10
    """How often the validation split is scored, evenly over the training."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Evaluations without a better score after which training stops; None never stops."""
    keep: Literal["last", "best"] = "last"
    """Which weights are kept: those of the last step, or of the best evaluation."""

    def scheduled_steps(self, task: Task) -> int:
        """Steps for a task of this size."""
        if self.steps != "auto":
            return self.steps
        if self.protocol == "paper":
            return self.paper_steps
        least, most = AUTO_STEPS
        return max(least, min(most, AUTO_EPOCHS * len(task.train) // self.scheduled_batch_size(task)))

    def scheduled_batch_size(self, task: Task) -> int:
        """Images a step for a task of this size."""
        size = self.batch_size if self.batch_size != "auto" else self.paper_batch_size if self.protocol == "paper" else 32
        return min(size, len(task.train))

    def tried_rates(self, rates: Rates) -> tuple[float, ...]:
        """The first learning rates that a field of rates stands for."""
        if rates == "auto":
            return PAPER_RATES if self.protocol == "paper" else AUTO_RATES
        return rates

    def optimization(self, learning_rate: float, layer_decay: float = 1.0) -> Optimization:
        """How gradients become steps, with every "auto" replaced by what it stands for."""
        paper = self.protocol == "paper"
        optimizer = self.optimizer if self.optimizer != "auto" else "sgd" if paper else "adamw"
        schedule = self.schedule if self.schedule != "auto" else "step" if paper else "cosine"
        return Optimization(
            learning_rate=learning_rate,
            optimizer=optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay if self.weight_decay != "auto" else 0.01 if optimizer == "adamw" else 0.0,
            schedule=schedule,
            warmup=self.warmup if self.warmup != "auto" else 0.0 if paper else 0.1,
            layer_decay=layer_decay,
            clip_gradient=self.clip_gradient,
            milestones=self.milestones,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainedMethod(TrainedMethod):
    """A method that trains a hub's networks from their pre-trained weights on. Abstract."""

    learning_rates: Rates = "auto"
    """First learning rates, each tried. "auto": 0.001 and 0.0001 with AdamW; the paper's are 0.1 and 0.01, of SGD."""
    batch_norm: Literal["auto", "train", "frozen"] = "auto"
    """Whether BatchNorm uses the batch's statistics in training, or the pre-trained ones. "auto": the boldest rate moves everything, a
    smaller one keeps what the network knows, statistics included; under ``protocol="paper"`` both train."""

    def variants(self, task: Task) -> list[Method]:
        return [*self.rate_variants()]

    def rate_variants(self) -> list[Self]:
        """This method with each of its learning rates, and what BatchNorm does at it."""
        rates = self.tried_rates(self.learning_rates)
        return [dataclasses.replace(self, learning_rates=(rate,), batch_norm=self._batch_norm(rate, rates)) for rate in rates]

    def _batch_norm(self, rate: float, rates: tuple[float, ...]) -> Literal["train", "frozen"]:
        if self.batch_norm != "auto":
            return self.batch_norm
        return "frozen" if self.protocol == "auto" and rate < max(rates) else "train"
