"""The road itself: search, tune, load."""

from hubtune.search import search
from hubtune.workflow.estimate import estimate
from hubtune.workflow.load import Model, Prediction, load
from hubtune.workflow.methods import METHODS, method_named
from hubtune.workflow.tune import Run, tune

__all__ = ["METHODS", "Model", "Prediction", "Run", "estimate", "load", "method_named", "search", "tune"]
