"""The paper's strategies: which models to fine-tune under a budget of B models.

Source: Renggli et al. (2021), "Which Model to Transfer? Finding the Needle in the Growing Haystack", sections 2 and 5.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hubtune.hub import ModelCard
from hubtune.training.seeds import derive

IMAGENET = "ImageNet-1k"

Scores = Mapping[str, Mapping[str, float]]
"""Model name to proxy name to score; a model that could not be scored is absent."""


class Strategy(Protocol):
    """Ranks models; the first B of the ranking are picked."""

    @property
    def name(self) -> str:
        """The name in the table of strategies."""
        ...

    @property
    def proxies(self) -> tuple[str, ...]:
        """Names of the proxies whose scores ``rank`` reads."""
        ...

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        """Names of distinct models, best first. Ties fall to the larger model, then to the name."""
        ...


def by_size(card: ModelCard) -> tuple[float, str]:
    """How ties are broken: the larger model, then the name."""
    return (-card.params, card.name)


@dataclass(frozen=True)
class TaskAgnostic:
    """The highest ImageNet-1k accuracy if such a model is in the pool, else the largest upstream data; ties to the larger model."""

    name: str = "task-agnostic"
    proxies: tuple[str, ...] = ()

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        def key(card: ModelCard):
            imagenet = card.upstream_accuracy if card.upstream_dataset == IMAGENET else None
            return (-1.0 if imagenet is None else -imagenet - 1, -(card.upstream_images or 0), *by_size(card))

        return [card.name for card in sorted(cards, key=key)]


@dataclass(frozen=True)
class ByProxy:
    """The highest score of one proxy."""

    proxy: str

    @property
    def name(self) -> str:
        return self.proxy

    @property
    def proxies(self) -> tuple[str, ...]:
        return (self.proxy,)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        scored = [card for card in cards if self.proxy in scores.get(card.name, {})]
        return [card.name for card in sorted(scored, key=lambda card: (-scores[card.name][self.proxy], *by_size(card)))]


@dataclass(frozen=True)
class Hybrid:
    """The first task-agnostic model and the first B - 1 of a proxy; with B = 1 the proxy's pick.

    Where both name the same model, the proxy's next one follows, so that B distinct models come back.
    """

    proxy: str

    @property
    def name(self) -> str:
        return f"hybrid-{self.proxy}"

    @property
    def proxies(self) -> tuple[str, ...]:
        return (self.proxy,)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        aware = ByProxy(self.proxy).rank(cards, scores, budget)
        if budget == 1:
            return aware
        # A model that could not be scored could not be fine-tuned either.
        agnostic = TaskAgnostic().rank([card for card in cards if card.name in aware], scores, budget)[:1]
        return agnostic + [name for name in aware if name not in agnostic]


@dataclass(frozen=True)
class Random:
    """B models drawn without replacement: the control."""

    name: str = "random"
    proxies: tuple[str, ...] = ()

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        names = sorted(card.name for card in cards)
        random.Random(derive(seed, "random strategy")).shuffle(names)
        return names
