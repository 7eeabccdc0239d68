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
        from scipy.stats import rankdata  # takes as long to import as torch

        scored = [card for card in cards if all(proxy in scores.get(card.name, {}) for proxy in self.proxies)]
        places = np.mean([rankdata([-scores[card.name][proxy] for card in scored]) for proxy in self.proxies], axis=0)
        mean = dict(zip((card.name for card in scored), places.tolist(), strict=True))
        return [card.name for card in sorted(scored, key=lambda card: (mean[card.name], *by_size(card)))]
