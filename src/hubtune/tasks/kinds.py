"""Kinds of task beside those of this room: where they live, found when they are first asked for."""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hubtune.errors import unknown_name
from hubtune.tasks.task import Task

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "hubtune.tasks.classification:Classification",
        "landmarks": "hubtune.landmarks.task:Landmarks",
    }
)
"""``Task.kind`` to ``module:Class``."""

OPENERS: Mapping[str, str] = MappingProxyType(
    {
        "300w": "hubtune.landmarks.opening:open_300w",
        "wflw": "hubtune.landmarks.opening:open_wflw",
        "cofw": "hubtune.landmarks.opening:open_cofw",
        "points": "hubtune.landmarks.opening:open_points",
        "demo:faces": "hubtune.landmarks.opening:open_faces",
    }
)
"""What a specification begins with, or all of it, to a ``module:function`` from what follows the colon and options to a Task."""


def kind_named(kind: str) -> type[Task]:
    """The class of all tasks of a kind.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if kind not in KINDS:
        raise unknown_name("kind of task", kind, KINDS)
    return find(KINDS[kind])


def opener_of(spec: str) -> tuple[Callable[..., Task], str] | None:
    """The function that opens a specification, and what it is to open; None where the specification is of classification."""
    prefix, _, location = spec.partition(":")
    found = OPENERS.get(spec) or OPENERS.get(prefix)
    return (find(found), location) if found else None


def find(place: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
