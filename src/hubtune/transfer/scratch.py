"""The control: the same network without what it learnt before."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import Rates, TrainedMethod


@dataclass(frozen=True, kw_only=True)
class Scratch(TrainedMethod):
    """Train the model's architecture from random weights; the learning rate with the best validation score is kept."""

    name: ClassVar[str] = "scratch"

    learning_rates: Rates = "auto"
    """First learning rates, each tried from the same random weights. "auto": 0.001 and 0.0001 with AdamW; the paper's are 0.1 and 0.01, of
    SGD."""

    def variants(self, task: Task) -> list[Method]:
        return [dataclasses.replace(self, learning_rates=(rate,)) for rate in self.tried_rates(self.learning_rates)]

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        [backbone] = backbones
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, "scratch"))
            fresh = Backbone.from_spec(backbone.spec())
            head = task.head(fresh)
        return SupervisedLearner(
            Single(fresh, head),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            label_smoothing=self.label_smoothing,
        )
