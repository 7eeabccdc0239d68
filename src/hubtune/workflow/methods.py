"""The table of methods: names, and where they live."""

import importlib
from typing import Any

from hubtune.errors import ConfigurationError, unknown_name
from hubtune.training.method import Method

METHODS: dict[str, str] = {
    "scratch": "hubtune.transfer.scratch:Scratch",
    "linear-probe": "hubtune.transfer.linear_probe:LinearProbe",
    "fine-tune": "hubtune.transfer.fine_tune:FineTune",
    "lwf": "hubtune.transfer.lwf:LwF",
    "at": "hubtune.transfer.attention:AttentionTransfer",
    "lwf+at": "hubtune.transfer.attention:LwFAttention",
    "fm": "hubtune.transfer.feature_matching:FeatureMatching",
    "l2t-w": "hubtune.transfer.l2t:L2TW",
    "l2t-ww": "hubtune.transfer.l2t:L2TWW",
    "hub-pathway": "hubtune.pathway.hub_pathway:HubPathway",
    "ensemble": "hubtune.pathway.ensemble:Ensemble",
    "ensemble-top-k": "hubtune.pathway.ensemble:EnsembleTopK",
    "distill": "hubtune.pathway.distill:Distill",
    "soup-uniform": "hubtune.pathway.soup:SoupUniform",
    "soup-greedy": "hubtune.pathway.soup:SoupGreedy",
    "concat-probe": "hubtune.pathway.concat_probe:ConcatProbe",
    "multi-teacher": "hubtune.pathway.multi_teacher:MultiTeacher",
    "aft": "hubtune.pathway.aft:Aft",
    "knowledge-flow": "hubtune.pathway.knowledge_flow:KnowledgeFlow",
    "zoo-tuning": "hubtune.pathway.zoo_tuning:ZooTuning",
    "zoo-tuning-l": "hubtune.pathway.zoo_tuning:ZooTuningLite",
}
"""Method name to ``module:Class``; a ``module:Class`` of one's own works wherever a name does."""


def method_named(name: str, config: dict[str, Any] | None = None) -> Method:
    """Make a method from its name and fields.

    Args:
        name: of ``METHODS``, or ``my.module:Class``.
        config: values by field name; strings are read as the field's type.

    Raises:
        UnknownNameError: no such method or field; the message names the nearest.
        ConfigurationError: values that cannot work, all of them at once.
    """
    return method_class(name).from_config(config or {})


def method_class(name: str) -> type[Method]:
    """The class behind a name; raises as ``method_named``."""
    if name not in METHODS and ":" not in name:
        raise unknown_name("method", name, METHODS, "hubtune methods")
    module, _, attribute = METHODS.get(name, name).partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"method {name!r} cannot be imported ({error}); expected my.module:Class") from error
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigurationError(f"method {name!r} is a {type(cls).__name__}; expected a subclass of hubtune.training.method.Method")
    return cls
