"""Which model to transfer."""

from hubtune.selection.budget import Budget
from hubtune.selection.ranking import Ranking
from hubtune.selection.searching import search
from hubtune.selection.strategies import STRATEGIES, Strategy, strategy_named

__all__ = ["STRATEGIES", "Budget", "Ranking", "Strategy", "search", "strategy_named"]
