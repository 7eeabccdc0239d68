"""The model that several proxies agree on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubtune.errors import ConfigurationError
from hubtune.hub import ModelCard
from hubtune.proxies import find_proxy
from hubtune.selection.paper_strategies import Scores, by_size


@dataclass(frozen=True, kw_only=True)
class MeanRank:
    """The best mean place among the rankings of several proxies.

    Places have no unit, so that proxies of any scale can be joined, and nothing is learnt; models of equal score share their mean place.

    Raises:
        ConfigurationError: no proxy.
        UnknownNameError: a proxy that does not exist.
    """

    proxies: tuple[str, ...] = ("knn", "loo-ridge", "logme")
    """Whose rankings are averaged."""
    name: str = "mean-rank"

    def __post_init__(self) -> None:
        if isinstance(self.proxies, str) or not self.proxies:
            raise ConfigurationError(f"proxies = {self.proxies!r}: expected a tuple of one name or more, such as ('knn', 'logme')")
        object.__setattr__(self, "proxies", tuple(self.proxies))
        for proxy in self.proxies:
            find_proxy(proxy)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        scored = [card for card in cards if all(proxy in scores.get(card.name, {}) for proxy in self.proxies)]
        places = sum(_places([scores[card.name][proxy] for card in scored]) for proxy in self.proxies)
        mean = dict(zip((card.name for card in scored), np.asarray(places).tolist(), strict=True))
        return [card.name for card in sorted(scored, key=lambda card: (mean[card.name], *by_size(card)))]


def _places(scores: Sequence[float]) -> np.ndarray:
    """(n,) places, 1 for the highest score; equal scores share the mean of theirs."""
    _, which, counts = np.unique(-np.array(scores), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]
