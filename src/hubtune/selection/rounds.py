"""A search in rounds: on how many images the models are compared in each, and how many of them go on."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.tasks import Split, Task


@dataclass(frozen=True, kw_only=True)
class Round:
    """One comparison of the models that are left."""

    share: float
    """Of the images, in (0, 1]; later rounds see the images of earlier ones and more."""
    keep: int
    """Models that go on, best first."""
    steps: int = 0
    """Optimizer steps of fine-tuning after which the models are compared; 0 compares them by frozen features."""


@runtime_checkable
class Staged(Protocol):
    """A strategy that does not score every model on every image."""

    def rounds(self, models: int, budget: int) -> list[Round]:
        """The comparisons, first to last.

        Args:
            models: in the hub.
            budget: models to pick; every round keeps at least so many.
        """
        ...


def part(task: Task, share: float) -> Task:
    """The task with a share of its training and validation images, rounded down, in which every class keeps about its proportion.

    Parts of one task are nested. At least two training images and one validation image a class are kept, as far as there are so many.
    """
    if share >= 1:
        return task
    splits = {"train": _beginning(task.train, share, 2), "val": _beginning(task.val, share, 1)}
    return dataclasses.replace(task, **splits)


def images(task: Task, share: float, validation: bool = True) -> int:
    """Images of ``part(task, share)`` that a search looks at."""
    return _count(task.train, share, 2) + (_count(task.val, share, 1) if validation else 0)


def within(rounds: Sequence[Round], task: Task, models: int, passes: int, validation: bool) -> list[Round]:
    """The rounds with their shares made smaller by a common factor, until they run at most ``passes`` images through models.

    Raises:
        ConfigurationError: even the smallest parts of the task are more than that.
    """

    def scaled(factor: float) -> list[Round]:
        return [dataclasses.replace(one, share=one.share * factor) for one in rounds]

    if passes_of(rounds, task, models, validation) <= passes:
        return list(rounds)
    least = passes_of(scaled(0.0), task, models, validation)
    if least > passes:
        raise ConfigurationError(
            f"a budget of {passes} forward passes is too small for {models} models: expected at least {least}, two images a class and "
            "model; give more, or fewer models with --where"
        )
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if passes_of(scaled(middle), task, models, validation) <= passes else (low, middle)
    return scaled(low)


def passes_of(rounds: Sequence[Round], task: Task, models: int, validation: bool = True) -> int:
    """Images that the rounds run through models, summed over models, where no cache knows any."""
    total = seen = 0
    for one in rounds:
        now = images(task, one.share, validation)
        total += models * max(0, now - seen)
        seen, models = max(seen, now), min(models, one.keep)
    return total


def spread(targets: Tensor) -> Tensor:
    """An order of rows in which every beginning holds the classes in about their proportions.

    The i-th of the n_c rows of class c is placed at (i + 1/2) / n_c; rows at one place keep the order of their classes.

    Args:
        targets: (N,) class indices; whatever else is predicted has no classes, and its rows keep their order.

    Returns:
        (N,) row numbers.
    """
    if targets.ndim != 1 or targets.is_floating_point():
        return torch.arange(len(targets))
    by_class = targets.argsort(stable=True)
    _, counts = targets.unique(return_counts=True)
    places = torch.cat([(torch.arange(int(n)) + 0.5) / int(n) for n in counts])
    return by_class[places.argsort(stable=True)]


def _count(split: Split, share: float, a_class: int) -> int:
    whole = len(split)
    classes = len(split.targets.unique()) if split.targets.ndim == 1 and not split.targets.is_floating_point() else 1
    return min(whole, max(int(share * whole + 1e-9), a_class * classes))


def _beginning(split: Split, share: float, a_class: int) -> Split:
    return split.select(_order(split.targets, a_class)[: _count(split, share, a_class)].numpy())


def _order(targets: Tensor, a_class: int) -> Tensor:
    """``spread``, but first of all some rows of each class, however rare it is."""
    order = spread(targets)
    if targets.ndim != 1 or targets.is_floating_point():
        return order
    seen: dict[int, int] = {}
    first = torch.zeros(len(order), dtype=torch.bool)
    for place, target in enumerate(targets[order].tolist()):
        seen[target] = seen.get(target, 0) + 1
        first[place] = seen[target] <= a_class
    return torch.cat([order[first], order[~first]])
