"""The road itself: search, tune, load."""

from hubtune.selection import search
from hubtune.workflow.estimating import estimate
from hubtune.workflow.loading import Model, Prediction, load
from hubtune.workflow.methods import METHODS, method_named
from hubtune.workflow.tuning import Run, tune

__all__ = ["METHODS", "Model", "Prediction", "Run", "estimate", "load", "method_named", "search", "tune"]
