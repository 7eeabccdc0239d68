"""Weights from files: tensors only, never code, and an exact fit."""

import functools
import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from hubtune.errors import ModelError

T = TypeVar("T")


def read_weights(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Named tensors of a file, floating-point ones as float32.

    Args:
        path: safetensors, or what ``torch.save`` wrote; the latter is read with ``weights_only=True``.
        key: where the weights lie in a saved dictionary; None for the dictionary itself, or its ``state_dict`` or ``model``.

    Raises:
        ModelError: the file is missing, damaged, or holds more than tensors in dictionaries.
    """
    if not path.is_file():
        raise ModelError(f"the weight file {path} does not exist; restore it, or correct the JSON beside it")
    if path.suffix == ".safetensors":
        try:
            return _as_float(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is not a readable safetensors file ({error}); copy or download it again") from error
    try:
        with warnings.catch_warnings():
            # That a file was written with another pickle protocol matters only where reading fails.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise ModelError(f"{path} is not a file that torch.save wrote ({error}); copy or download it again") from error
        raise ModelError(
            f"{path} holds pickled Python objects beside tensors; reading them would run code from the file, so it is refused. "
            "Where you trust it, load it yourself and save the weights alone: safetensors.torch.save_file(model.state_dict(), ...)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} is not a file that torch.save wrote ({error}); copy or download it again") from error
    return _as_float(_tensors(content, key, path))


def _tensors(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    wanted = [key] if key else [None, "state_dict", "model"]
    for candidate in wanted:
        found = content if candidate is None else content.get(candidate) if isinstance(content, Mapping) else None
        if isinstance(found, Mapping) and found and all(isinstance(value, Tensor) for value in found.values()):
            tensors = OrderedDict((str(name), value) for name, value in found.items())
            tensors._metadata = getattr(found, "_metadata", None)  # pyright: ignore[reportAttributeAccessIssue]  versions of the modules
            return tensors
    held = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else type(content).__name__
    place = f"under {key!r}" if key else "at its top, under 'state_dict' or under 'model'"
    raise ModelError(
        f'{path} has no dictionary of tensors {place}; it holds: {held}. Name the right key as "state_dict" in the JSON beside it'
    )


def _as_float(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.float()
    return weights


def rename(weights: Mapping[str, T], prefixes: Mapping[str, str | None]) -> dict[str, T]:
    """Each name with its longest matching prefix replaced; without the names whose prefix is replaced by None.

    Raises:
        ModelError: two names become one.
    """
    longest_first = sorted(prefixes, key=len, reverse=True)
    renamed: dict[str, T] = {}
    for name, tensor in weights.items():
        prefix = next((prefix for prefix in longest_first if name.startswith(prefix)), None)
        replacement = "" if prefix is None else prefixes[prefix]
        if replacement is None:
            continue
        new = replacement + name[len(prefix or "") :]
        if new in renamed:
            raise ModelError(f'after the prefixes are replaced, two weights are called {new!r}; correct "prefixes" in the JSON')
        renamed[new] = tensor
    return renamed


def load_exactly(network: nn.Module, weights: Mapping[str, Tensor], may_lack: Iterable[str] = ()) -> set[str]:
    """Put weights into a network; every name and shape must fit.

    Args:
        may_lack: names or prefixes ending in "." that the weights need not hold; BatchNorm's step counters never need to be there.

    Returns:
        Names that the weights lacked, step counters apart; the network keeps its own values there.

    Raises:
        ModelError: names or shapes that do not fit, all of them counted, the first ones named.
    """
    own = network.state_dict()
    allowed = tuple(may_lack)
    missing = {name for name in own if name not in weights and not name.endswith("num_batches_tracked")}
    lacking = {name for name in missing if any(name == entry or (entry.endswith(".") and name.startswith(entry)) for entry in allowed)}
    surplus = [name for name in weights if name not in own]
    shapes = [
        f"{name} {tuple(weights[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    mistakes = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''}"
        for what, names in (("lacking", missing - lacking), ("unexpected", surplus), ("of another shape", shapes))
        if names
    ]
    if mistakes:
        raise ModelError("the weights do not fit the architecture: " + "; ".join(mistakes))
    network.load_state_dict(weights, strict=False)
    return lacking


def weight_names(path: Path) -> set[str] | None:
    """Names in a safetensors file, from its header alone; None for other files and damaged ones."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError):
        return None


def sha256(path: Path) -> str:
    """Of a file's bytes; known again without reading while its size and time of change stay."""
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
