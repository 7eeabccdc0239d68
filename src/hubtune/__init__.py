"""HubTune: transfer learning from many pre-trained models.

Names resolve when they are first used, so that ``import hubtune`` and ``hubtune --help`` stay light.
"""

import importlib
import os

from hubtune import torchvision_operators

__version__ = "0.1.0"

# Two spinning OpenMP threads beside a busy core run several times slower than one; the setting must precede torch's import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torchvision_operators.install()

_NAMES = {
    "Hub": "hubtune.hub",
    "ModelCard": "hubtune.hub",
    "Task": "hubtune.tasks",
    "search": "hubtune.workflow",
    "regret": "hubtune.workflow",
    "tune": "hubtune.workflow",
    "compare": "hubtune.workflow",
    "load": "hubtune.workflow",
    "Scratch": "hubtune.transfer",
    "LinearProbe": "hubtune.transfer",
    "FineTune": "hubtune.transfer",
    "LwF": "hubtune.transfer",
    "AttentionTransfer": "hubtune.transfer",
    "LwFAttention": "hubtune.transfer",
    "FeatureMatching": "hubtune.transfer",
    "L2TW": "hubtune.transfer",
    "L2TWW": "hubtune.transfer",
    "HubPathway": "hubtune.pathway",
    "Ensemble": "hubtune.pathway",
    "EnsembleTopK": "hubtune.pathway",
    "Distill": "hubtune.pathway",
    "SoupUniform": "hubtune.pathway",
    "SoupGreedy": "hubtune.pathway",
    "ConcatProbe": "hubtune.pathway",
    "MultiTeacher": "hubtune.pathway",
    "Aft": "hubtune.pathway",
    "KnowledgeFlow": "hubtune.pathway",
    "ZooTuning": "hubtune.pathway",
    "ZooTuningLite": "hubtune.pathway",
    "HubTuneError": "hubtune.errors",
}
_MODULES = {"proxies": "hubtune.proxies", "rl": "hubtune.rl", "training": "hubtune.training"}

__all__ = ["__version__", *_NAMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'hubtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
