"""Fine-tuning: a new head on a pre-trained network, then everything."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.heads import fit_head
from hubtune.training.method import Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import PretrainedMethod


@dataclass(frozen=True, kw_only=True)
class FineTune(PretrainedMethod):
    """Train a linear head on frozen features, then head and backbone together; the learning rate with the best validation score is kept.

    Source: Renggli et al. (2021), section 4.3, "Fine tuning"; SGD with momentum, x 0.1 at 30, 60 and 90 % of the steps.
    Differs from the paper: under ``protocol="auto"`` the schedule follows the task's size, steps are AdamW's with a warm-up and a cosine,
    and the careful rate keeps BatchNorm's statistics; ``protocol="paper"`` is the paper's, 2500 steps of batch 512.
    """

    name: ClassVar[str] = "fine-tune"

    head_first: bool = True
    """Whether the head is first trained on frozen features; otherwise it starts at random."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate for each block below the head."""

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
