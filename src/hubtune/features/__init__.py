"""One forward pass per (model, image), ever."""

from hubtune.features.cache import FeatureCache
from hubtune.features.extract import Features, extract

__all__ = ["FeatureCache", "Features", "extract"]
