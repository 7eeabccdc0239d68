"""A linear head on frozen features."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.heads import fit_head, linear_head
from hubtune.training.learner import Batch, Learner
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Predictor, Single, freeze


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Method):
    """Train nothing but a linear head, on features that are computed once.

    Source: Renggli et al. (2021), section 4.3, "Linear evaluation": softmax regression from zero, SGD with momentum 0.9,
    2500 steps of batch 512, rates 0.1 and 0.01 by validation accuracy.
    Differs from the paper: one run, not the median of five, since it is the model that is wanted here.
    """

    name: ClassVar[str] = "linear-probe"

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> "LinearProbeLearner":
        [backbone] = backbones
        return LinearProbeLearner(backbone, task, setting)


class LinearProbeLearner(Learner):
    """Has no steps: the whole fit is one solve over cached features."""

    steps = 0

    def __init__(self, backbone: Backbone, task: Task, setting: Setting):
        freeze(backbone)
        self._backbone = backbone
        self._task = task
        self._setting = setting
        self._predictor = Single(backbone, linear_head(task, backbone, LinearProbe.name)).to(setting.runtime.device)

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise NotImplementedError("a linear probe has no steps")

    def finish(self, batches: Iterable[Batch]) -> None:
        fit_head(self._predictor.head, self._backbone, self._task, self._setting)

    def predictor(self) -> Predictor:
        return self._predictor

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
