"""Successive halving: every model on little, the better half on twice as much, until few models are left. Images are counted, or steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hubtune.errors import ConfigurationError
from hubtune.hub import ModelCard
from hubtune.proxies import find_proxy
from hubtune.selection.paper_strategies import ByProxy, Scores
from hubtune.selection.rounds import Round

TUNED = "tuned"
"""Under this name ``rank`` finds validation accuracies after a few steps of fine-tuning among the scores."""


@dataclass(frozen=True, kw_only=True)
class SuccessiveHalving:
    """Compare all models on a share of the images, then keep a part of them for the next, larger share.

    In round r the share is min(1, first reduction^r) of training and of validation images, nested, each class in its proportion; the best
    max(B + margin, ceil(K / reduction^(r + 1))) of K models go on. With reduction 2 every doubling of the images runs half the models,
    so a round costs about as much as the first: K first N (1 + (reduction - 1) / reduction (rounds - 1)) forward passes in all, instead of
    K N. Features of earlier rounds are read from the cache.

    Source: Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter optimization", with images as the
    resource; Renggli et al. (2021), section 6, names the idea for steps of fine-tuning and leaves it out.

    Raises:
        ConfigurationError: fields that cannot work.
    """

    proxy: str = "loo-ridge"
    """Compares the models; leave-one-out accuracy spends no image on validation."""
    first: float = 0.125
    """Share of the images in the first round, in (0, 1]."""
    reduction: int = 2
    """Factor on the images from one round to the next, and on the models kept; >= 2."""
    margin: int = 1
    """Models above the budget that always go on, >= 0: the last rounds then still compare."""
    steps: tuple[int, ...] = ()
    """Rounds of fine-tuning after those on images: optimizer steps, growing, after which the models that are left are compared by
    validation accuracy; such as (20, 40, 80). Empty: none."""
    name: str = "successive-halving"

    def __post_init__(self) -> None:
        find_proxy(self.proxy)
        mistakes = []
        if not 0 < self.first <= 1:
            mistakes.append(f"first = {self.first!r}: expected a share in (0, 1]")
        mistakes += _whole_mistakes(2, reduction=self.reduction) + _whole_mistakes(0, margin=self.margin)
        _refuse(self.name, mistakes + _step_mistakes(self.steps))
        object.__setattr__(self, "steps", tuple(self.steps))

    @property
    def proxies(self) -> tuple[str, ...]:
        return (self.proxy,)

    def rounds(self, models: int, budget: int) -> list[Round]:
        """The shares and how many models each keeps; then, where asked for, the steps."""
        floor = min(models, budget + self.margin)
        planned, share, left = [], self.first, models
        while True:
            left = max(floor, math.ceil(left / self.reduction))
            planned.append(Round(share=share, keep=left))
            if share >= 1:
                break
            share = min(1.0, share * self.reduction)
        return planned + _step_rounds(self.steps, left, budget, self.reduction)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        """One round's order."""
        tuned = any(TUNED in scores.get(card.name, {}) for card in cards)
        return ByProxy(TUNED if tuned else self.proxy).rank(cards, scores, budget, seed)


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """Fine-tune every model for a few steps, keep the better half for more steps, and so on: no proxy decides.

    Models are compared by the task's metric on the validation split. Later rounds go on where earlier ones stopped. A search that may spend
    so many seconds trains in the order of the cards' recommendation, and compares what was trained by then.

    Source: Renggli et al. (2021), section 6, names the idea and leaves it out; Jamieson and Talwalkar (2016).

    Raises:
        ConfigurationError: fields that cannot work.
    """

    steps: tuple[int, ...] = (25, 50, 100)
    """Optimizer steps after which the models that are left are compared, growing."""
    reduction: int = 2
    """Factor by which the models become fewer from one round to the next; >= 2."""
    margin: int = 1
    """Models above the budget that always go on, >= 0: the last round then still compares."""
    name: str = "few-steps"

    def __post_init__(self) -> None:
        none = [] if len(self.steps) else [f"steps = {self.steps!r}: expected at least one number of steps"]
        numbers = _whole_mistakes(2, reduction=self.reduction) + _whole_mistakes(0, margin=self.margin)
        _refuse(self.name, none + _step_mistakes(self.steps) + numbers)
        object.__setattr__(self, "steps", tuple(self.steps))

    @property
    def proxies(self) -> tuple[str, ...]:
        return ()

    def rounds(self, models: int, budget: int) -> list[Round]:
        """The steps, and how many models each round keeps."""
        return _step_rounds(self.steps, models, min(models, budget + self.margin), self.reduction)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        """One round's order."""
        return ByProxy(TUNED).rank(cards, scores, budget, seed)


def _step_rounds(growing: Sequence[int], left: int, least: int, reduction: int) -> list[Round]:
    planned = []
    for steps in growing:
        left = max(least, math.ceil(left / reduction))
        planned.append(Round(share=1.0, keep=left, steps=steps))
    return planned


def _step_mistakes(steps: Sequence[int]) -> list[str]:
    whole = all(isinstance(step, int) and not isinstance(step, bool) and step >= 1 for step in steps)
    if whole and list(steps) == sorted(set(steps)):
        return []
    return [f"steps = {steps!r}: expected whole numbers >= 1 that grow, such as (20, 40, 80)"]


def _whole_mistakes(least: int, **numbers: int) -> list[str]:
    wrong = {n: v for n, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int) or v < least}
    return [f"{name} = {value!r}: expected a whole number >= {least}" for name, value in wrong.items()]


def _refuse(name: str, mistakes: Sequence[str]) -> None:
    if mistakes:
        raise ConfigurationError(f"{name} cannot be configured so:\n  " + "\n  ".join(mistakes))
