"""Which feature maps of the sources are matched to which of the target's."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from hubtune.errors import ConfigurationError

CONFIGURATIONS = ("single", "one-to-one", "all-to-all")

_EXPECTED = f"expected {', '.join(CONFIGURATIONS)}, or pairs source-layer:target-layer such as layer3.4:stages.2"
_STEM = re.compile(r"(features\.)?(stem|act|bn|conv|norm|relu|pool)", re.IGNORECASE)


def _read_matching(value: Any) -> Any:
    """Pairs from a command line are spelled ``source-layer:target-layer``."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str) and ":" not in value[0]:
        [value] = value
    if isinstance(value, list | tuple):
        pairs = tuple(tuple(part.rsplit(":", 1)) if isinstance(part, str) else part for part in value)
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(_EXPECTED)
        return pairs
    if value not in CONFIGURATIONS:
        raise ValueError(_EXPECTED)
    return value


Matching = Annotated[Literal["single", "one-to-one", "all-to-all"] | tuple[tuple[str, str], ...], BeforeValidator(_read_matching)]
"""A configuration by name, or pairs (source layer, target layer): "model/layer" of one source, "layer" of every source that has it."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A feature map that a network offers."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One source map and one target map."""

    source: int
    """Position among the sources."""
    source_layer: int
    """Position among that source's maps."""
    target_layer: int
    """Position among the target's maps."""
    name: str
    """For people: "model/layer -> layer"."""


def choose_pairs(matching: Any, sources: Sequence[tuple[str, Sequence[Layer]]], target: Sequence[Layer]) -> list[Pair]:
    """The pairs of a configuration, ordered by target map, then source, then source map.

    single: the last map of each source, and the target's map of the same size. one-to-one: the same for the last map of each size that
    a source has (just before each down-scaling). all-to-all: every source map with every target map. Where no target map has the same
    size, the nearest by the logarithm of the area; of several, the deepest. The output of a stem, before the first group of blocks, is
    no candidate of these three, but explicit pairs may name it.

    Source: Jang et al. (2019), section 3.1, "Compared schemes", and Figure 3. Differs from the paper: it has no case without an equal size.

    Args:
        matching: a value of ``Matching``.
        sources: (model name, its maps), shallow to deep.
        target: the target's maps, shallow to deep.

    Raises:
        ConfigurationError: a network without maps, or pairs that name absent layers.
    """
    for name, layers in (*sources, ("the target", target)):
        if not layers:
            raise ConfigurationError(
                f"{name} offers no feature maps to match; choose another model, or the method lwf, which matches logits"
            )
    if not isinstance(matching, str):
        return _explicit(matching, sources, target)
    candidates = _groups(target)
    pairs = []
    for s, (_, layers) in enumerate(sources):
        rows = _groups(layers)
        if matching == "all-to-all":
            pairs += [(s, m, n) for m in rows for n in candidates]
            continue
        last_of_size = {(layers[m].height, layers[m].width): m for m in rows}
        chosen = rows[-1:] if matching == "single" else [m for m in rows if m in last_of_size.values()]
        for m in chosen:
            nearest = min(reversed(candidates), key=lambda n, layer=layers[m]: _size_distance(layer, target[n]))
            pairs.append((s, m, nearest))
    return _ordered(pairs, sources, target)


def describe_matching(
    pairs: Sequence[Pair], sources: Sequence[tuple[str, Sequence[Layer]]], target: tuple[str, Sequence[Layer]]
) -> dict[str, Any]:
    """What is matched to what, as JSON: the networks with their candidate maps, and one dictionary a pair, which others may add to."""

    def network(name: str, layers: Sequence[Layer]) -> dict[str, Any]:
        return {"name": name, "layers": [{"name": layer.name, "size": [layer.channels, layer.height, layer.width]} for layer in layers]}

    rows = [{"name": p.name, "source": p.source, "source_layer": p.source_layer, "target_layer": p.target_layer} for p in pairs]
    return {"sources": [network(*source) for source in sources], "target": network(*target), "pairs": rows}


def _groups(layers: Sequence[Layer]) -> list[int]:
    """Positions of all maps but the stem's."""
    first = 1 if len(layers) > 1 and _STEM.match(layers[0].name) else 0
    return list(range(first, len(layers)))


def _size_distance(a: Layer, b: Layer) -> float:
    return abs(math.log(a.height * a.width / (b.height * b.width)))


def _explicit(wanted: Any, sources: Sequence[tuple[str, Sequence[Layer]]], target: Sequence[Layer]) -> list[Pair]:
    target_names = [layer.name for layer in target]
    pairs, mistakes = [], []
    for source_layer, target_layer in wanted:
        found = [
            (s, m)
            for s, (model, layers) in enumerate(sources)
            for m, layer in enumerate(layers)
            if source_layer in (layer.name, f"{model}/{layer.name}")
        ]
        if not found:
            mistakes.append(f"{source_layer!r} is a layer of no source")
        if target_layer not in target_names:
            mistakes.append(f"{target_layer!r} is no layer of the target")
        else:
            pairs += [(s, m, target_names.index(target_layer)) for s, m in found]
    if mistakes or not wanted:
        known = "\n  ".join(f"{model}: {', '.join(layer.name for layer in layers)}" for model, layers in (*sources, ("target", target)))
        raise ConfigurationError(f"pairs cannot be matched: {'; '.join(mistakes) or 'none are given'}. The layers are\n  {known}")
    return _ordered(pairs, sources, target)


def _ordered(pairs: Sequence[tuple[int, int, int]], sources: Sequence[tuple[str, Sequence[Layer]]], target: Sequence[Layer]) -> list[Pair]:
    return [
        Pair(source=s, source_layer=m, target_layer=n, name=f"{sources[s][0]}/{sources[s][1][m].name} -> {target[n].name}")
        for s, m, n in sorted(set(pairs), key=lambda pair: (pair[2], pair[0], pair[1]))
    ]
