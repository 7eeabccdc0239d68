"""The model with the highest accuracy that past runs let one expect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hubtune.errors import ConfigurationError
from hubtune.hub import ModelCard
from hubtune.proxies import find_proxy
from hubtune.selection.paper_strategies import ByProxy, Scores

PREDICTED = "predicted"
"""Under this name ``rank`` finds predicted accuracies among the scores."""


@dataclass(frozen=True, kw_only=True)
class MetaLearned:
    """The highest predicted accuracy; see `hubtune.selection.predicting` for how past runs predict it.

    Raises:
        ConfigurationError: fields that cannot work.
        UnknownNameError: a proxy that does not exist.
    """

    predicts: ClassVar[bool] = True
    """Needs predicted accuracies among the scores."""

    proxies: tuple[str, ...] = ("knn", "loo-ridge", "logme")
    """Proxies that the prediction reads beside the cards. Empty: no image is run through any model, and the cards and the models' past
    runs decide alone."""
    name: str = "meta-learned"

    def __post_init__(self) -> None:
        if isinstance(self.proxies, str):
            raise ConfigurationError(f"proxies = {self.proxies!r}: expected a tuple of names, such as ('linear',) or ()")
        object.__setattr__(self, "proxies", tuple(self.proxies))
        for proxy in self.proxies:
            find_proxy(proxy)

    def rank(self, cards: Sequence[ModelCard], scores: Scores, budget: int, seed: int = 0) -> list[str]:
        return ByProxy(PREDICTED).rank(cards, scores, budget, seed)
