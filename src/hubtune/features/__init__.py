"""One forward pass per (model, image), ever."""

from hubtune.features.cache import FeatureCache
from hubtune.features.extract import Features, extract, recall
from hubtune.features.memory import is_out_of_memory

__all__ = ["FeatureCache", "Features", "extract", "is_out_of_memory", "recall"]
