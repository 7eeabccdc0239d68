"""One network whose weights are the average of several fine-tuned ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.hub import Backbone, Hub
from hubtune.pathway.alike import check_alike, check_one_architecture
from hubtune.pathway.assembled import Assembled, best_first
from hubtune.pathway.batch_norm import batch_norms, reestimate, sample_of
from hubtune.tasks import Task
from hubtune.training.evaluation import evaluate
from hubtune.training.method import Method, Need, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.saving import load_single
from hubtune.training.trained_method import Rate

RATES = (1e-3, 5e-4, 2e-4, 1e-4)
ONE_MODEL = "name one model, whose fine-tunings at several learning rates are then averaged, or use ensemble"


@dataclass(frozen=True, kw_only=True)
class SoupUniform(Method):
    """Fine-tune at several learning rates from one start, and average all the networks, weight by weight.

    BatchNorm statistics belong to none of the ingredients and are estimated anew. With several models all must have one architecture,
    and the same pre-trained weights unless ``any_start`` is set.

    Source: Wortsman et al. (2022), Model soups, section 2, "uniform soup".
    Differs from the paper: the ingredients differ in their learning rate alone; statistics are estimated anew (its networks have none).
    """

    name: ClassVar[str] = "soup-uniform"
    takes_many: ClassVar[bool] = True

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = RATES
    """One ingredient each, of every model."""
    any_start: bool = False
    """Whether models pre-trained differently may be averaged all the same, as in Shu et al. (2022), Table 1."""
    base: str = "fine-tune"
    """The method that makes the ingredients; it has a field ``learning_rates``."""
    base_config: dict[str, Any] = field(default_factory=dict)
    """Its other fields."""

    def needs(self, models: tuple[str, ...], task: Task) -> list[Need]:
        return ingredients(self.base, self.base_config, self.learning_rates, models)

    def check(self, hub: Hub, task: Task) -> None:
        check_one_start(hub, self.any_start)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> Assembled:
        check_alike(backbones, self.name, ONE_MODEL)
        soup = _Soup(best_first(results, task), task, setting)
        soup.cook(range(len(results)))
        return Assembled(soup.network, setting, soup.summary(range(len(results))))


@dataclass(frozen=True, kw_only=True)
class SoupGreedy(Method):
    """Like ``soup-uniform``, but an ingredient stays only if the soup is no worse with it on the validation split; best first.

    Source: Wortsman et al. (2022), Model soups, Recipe 1, "greedy soup".
    Differs from the paper: as ``soup-uniform``.
    """

    name: ClassVar[str] = "soup-greedy"
    takes_many: ClassVar[bool] = True

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = RATES
    """One ingredient each, of every model."""
    any_start: bool = False
    """Whether models pre-trained differently may be averaged all the same, as in Shu et al. (2022), Table 1."""
    base: str = "fine-tune"
    """The method that makes the ingredients; it has a field ``learning_rates``."""
    base_config: dict[str, Any] = field(default_factory=dict)
    """Its other fields."""

    def needs(self, models: tuple[str, ...], task: Task) -> list[Need]:
        return ingredients(self.base, self.base_config, self.learning_rates, models)

    def check(self, hub: Hub, task: Task) -> None:
        check_one_start(hub, self.any_start)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> Assembled:
        check_alike(backbones, self.name, ONE_MODEL)
        soup = _Soup(best_first(results, task), task, setting)
        kept = [0]
        best = soup.cook(kept)
        for i in range(1, len(results)):
            score = soup.cook([*kept, i])
            if score >= best:
                kept, best = [*kept, i], score
        soup.cook(kept)
        return Assembled(soup.network, setting, soup.summary(kept))


class _Soup:
    """Ingredients, and the network that they are averaged in."""

    def __init__(self, results: list[Result], task: Task, setting: Setting):
        self._results = results
        self._task = task
        self._setting = setting
        singles = [load_single(result.folder / "model") for result in results]
        self._states = [single.state_dict() for single in singles]
        self.network: Single = load_single(results[0].folder / "model").to(setting.runtime.device)

    def cook(self, chosen: Sequence[int]) -> float:
        """Put the average of some ingredients into the network; its validation score."""
        self.network.load_state_dict(average([self._states[i] for i in chosen]))
        if len(chosen) > 1 and batch_norms(self.network):
            reestimate(self.network, sample_of(self._task, self._setting))
        setting, task = self._setting, self._task
        return evaluate(self.network, task, task.val, setting.canvas_size, setting.runtime)[1][task.metric]

    def summary(self, chosen: Sequence[int]) -> dict[str, Any]:
        kept = [self._results[i].cell for i in chosen]
        return {"ingredients": [{"model": cell.models[0], "learning_rates": cell.method.config()["learning_rates"]} for cell in kept]}


def average(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several networks' weights, name by name; whole numbers (BatchNorm's counters) are the first network's."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }


def ingredients(base: str, config: dict[str, Any], rates: Sequence[float], models: tuple[str, ...]) -> list[Need]:
    """A training for each model and learning rate."""
    return [
        Need(method=base, config={**config, "learning_rates": [rate]}, models=(name,), optional=True) for name in models for rate in rates
    ]


def check_one_start(hub: Hub, any_start: bool) -> None:
    """Whether the models' weights can be averaged, as far as it shows before they are loaded.

    Raises:
        ConfigurationError: several architectures, or several starts.
    """
    check_one_architecture(hub, "a soup", ONE_MODEL)
    if len(hub) > 1 and not any_start and len({hub.fingerprint(name) for name in hub.names}) > 1:
        raise ConfigurationError(
            f"a soup was asked of models pre-trained differently: {', '.join(hub.names)}; networks far from each other have no good "
            f"average: {ONE_MODEL}, or set any_start=true to try"
        )
