"""Which model to transfer."""

from hubtune.selection.searching import Ranking, search
from hubtune.selection.strategies import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "Ranking", "Strategy", "search"]
