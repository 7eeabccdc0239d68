"""Where models come from: the table of sources, and how a description finds its source."""

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hubtune.errors import ConfigurationError, ModelError, UnknownNameError, unknown_name
from hubtune.hub.demo import open_demo
from hubtune.hub.hub import Hub
from hubtune.hub.huggingface import open_huggingface
from hubtune.hub.local import open_local
from hubtune.hub.presets import open_paper
from hubtune.hub.timm import open_timm
from hubtune.hub.torchvision import open_torchvision

SOURCES: dict[str, Callable[[str], Hub]] = {
    "demo": open_demo,
    "local": open_local,
    "timm": open_timm,
    "torchvision": open_torchvision,
    "hf": open_huggingface,
    "paper": open_paper,
}
"""Name of a source to what opens it, given the text after the colon ("" where there is none)."""


def open_source(spec: str | Path | Sequence[str | Path]) -> Hub:
    """See ``Hub.open``."""
    if isinstance(spec, Path):
        return open_local(str(spec))
    if not isinstance(spec, str):
        return _merge(spec)
    spec = spec.strip()
    name, _, rest = spec.partition(":")
    if _is_path(spec):
        return open_local(spec)
    if "+" in spec:
        return _merge(spec.split("+"))
    if name in SOURCES:
        return SOURCES[name](rest)
    if rest and re.fullmatch(r"[A-Za-z_][\w.]*", name):
        return _call(name, rest)
    if any(mark in spec for mark in "/\\") or spec.startswith((".", "~")):
        raise ModelError(f"the folder {spec!r} does not exist; give a folder of models, or one of: {', '.join(SOURCES)}")
    error = unknown_name("source", spec, SOURCES)
    raise UnknownNameError(f"{error}; or a folder of models (there is none at {str(Path(spec).absolute())!r})")


def _is_path(spec: str) -> bool:
    try:
        return spec not in SOURCES and Path(spec).expanduser().exists() and spec != ""
    except OSError:
        return False


def _merge(specs: Sequence[str | Path]) -> Hub:
    if not specs:
        raise ConfigurationError(f"an empty list of sources was given; expected at least one of: {', '.join(SOURCES)}, or a folder")
    hub = Hub()
    for spec in specs:
        hub = hub | open_source(spec)
    return hub


def _call(module_name: str, rest: str) -> Hub:
    """A source of the user's own: ``my.module:function`` or ``my.module:function:TEXT``."""
    function_name, _, text = rest.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        unknown = unknown_name("source", module_name, SOURCES)
        raise UnknownNameError(f"{unknown}; nor can {module_name}:{function_name} be imported ({error})") from error
    # A description may come from someone else's record: it must not call whatever Python offers.
    if getattr(function, "__annotations__", {}).get("return") not in (Hub, "Hub", "hubtune.Hub", "ht.Hub"):
        raise ModelError(
            f"{module_name}:{function_name} is not known to return a hub; annotate it: def {function_name}(text: str) -> hubtune.Hub"
        )
    return function(text)
