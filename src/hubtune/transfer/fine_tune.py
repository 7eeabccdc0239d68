"""Fine-tuning: a new head on a pre-trained network, then everything."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.heads import fit_head
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import Rates, TrainedMethod


@dataclass(frozen=True, kw_only=True)
class FineTune(TrainedMethod):
    """Train a linear head on frozen features, then head and backbone together; the learning rate with the best validation score is kept.

    Source: Renggli et al. (2021), section 4.3, "Fine tuning"; SGD with momentum, x 0.1 at 30, 60 and 90 % of the steps.
    Differs from the paper: under ``protocol="auto"`` the schedule follows the task's size, steps are AdamW's with a warm-up and a cosine,
    and the careful rate keeps BatchNorm's statistics; ``protocol="paper"`` is the paper's, 2500 steps of batch 512.
    """

    name: ClassVar[str] = "fine-tune"

    learning_rates: Rates = "auto"
    """First learning rates, each tried from the same head. "auto": 0.001 and 0.0001 with AdamW; the paper's are 0.1 and 0.01, of SGD."""
    head_first: bool = True
    """Whether the head is first trained on frozen features; otherwise it starts at random."""
    batch_norm: Literal["auto", "train", "frozen"] = "auto"
    """Whether BatchNorm uses the batch's statistics in training, or the pre-trained ones. "auto": the boldest rate moves everything, a
    smaller one keeps what the network knows, statistics included; under ``protocol="paper"`` both train."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate for each block below the head."""

    def variants(self, task: Task) -> list[Method]:
        rates = self.tried_rates(self.learning_rates)
        return [dataclasses.replace(self, learning_rates=(rate,), batch_norm=self._batch_norm(rate, rates)) for rate in rates]

    def _batch_norm(self, rate: float, rates: tuple[float, ...]) -> Literal["train", "frozen"]:
        if self.batch_norm != "auto":
            return self.batch_norm
        return "frozen" if self.protocol == "auto" and rate < max(rates) else "train"

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        [backbone] = backbones
        head = task.head(backbone)
        if self.head_first:
            fit_head(head, backbone, task, setting)
        return SupervisedLearner(
            Single(backbone, head),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0], self.layer_decay),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            label_smoothing=self.label_smoothing,
        )
