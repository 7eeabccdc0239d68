"""The road itself: search, tune, compare, load."""

from hubtune.selection import search
from hubtune.selection.regret_study import regret
from hubtune.workflow.comparing import Comparison, compare
from hubtune.workflow.contestants import contestants
from hubtune.workflow.estimating import estimate
from hubtune.workflow.loading import Model, Prediction, load
from hubtune.workflow.methods import METHODS, method_named
from hubtune.workflow.tuning import Run, tune

__all__ = [
    "METHODS",
    "Comparison",
    "Model",
    "Prediction",
    "Run",
    "compare",
    "contestants",
    "estimate",
    "load",
    "method_named",
    "regret",
    "search",
    "tune",
]
