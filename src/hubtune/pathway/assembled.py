"""What needs no steps: predictors put together from finished trainings."""

from typing import Any, final

from torch import Tensor

from hubtune.errors import TrainingError
from hubtune.tasks import Task
from hubtune.training.learner import Batch, Learner
from hubtune.training.method import Need, Result, Setting
from hubtune.training.predictor import Predictor


@final
class Assembled(Learner):
    """Has no steps: the predictor is ready."""

    steps = 0

    def __init__(self, predictor: Predictor, setting: Setting, summary: dict[str, Any] | None = None):
        self._predictor = predictor.to(setting.runtime.device).eval()
        self._summary = summary or {}

    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise NotImplementedError("what is assembled has no steps")

    def predictor(self) -> Predictor:
        return self._predictor

    def summary(self) -> dict[str, Any]:
        return self._summary

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def trainings(base: str, config: dict[str, Any], models: tuple[str, ...]) -> list[Need]:
    """One training a model; a model whose training fails is done without."""
    return [Need(method=base, config=config, models=(name,), optional=True) for name in models]


def best_first(results: list[Result], task: Task) -> list[Result]:
    """By validation score; of equal ones the first.

    Raises:
        TrainingError: there are none.
    """
    if not results:
        raise TrainingError("no model of the hub could be trained, so that there is nothing to put together; see the warnings above")
    return sorted(results, key=lambda result: -result.metrics[f"val_{task.metric}"])


def names_of(results: list[Result]) -> list[str]:
    """The models that were trained, in order."""
    return [name for result in results for name in result.cell.models]
