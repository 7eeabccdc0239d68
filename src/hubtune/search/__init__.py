"""Which model to transfer."""

from hubtune.search.search import Ranking, search
from hubtune.search.strategies import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "Ranking", "Strategy", "search"]
