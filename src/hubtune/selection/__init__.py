"""Which model to transfer."""

from hubtune.selection.budget import Budget
from hubtune.selection.ranking import Ranking
from hubtune.selection.searching import search
from hubtune.selection.strategies import AUTO, STRATEGIES, Strategy, strategy_named

__all__ = ["AUTO", "STRATEGIES", "Budget", "Ranking", "Strategy", "search", "strategy_named"]
