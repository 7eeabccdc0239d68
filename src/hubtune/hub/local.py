"""Models in a folder: timm's ``local-dir:`` form, and bare checkpoints described by a JSON beside them."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubtune.errors import HubTuneError, ModelError
from hubtune.hub.backbone import Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.hub import Entry, Hub
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.hub.weights import load_exactly, read_weights, rename, sha256, weight_names

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_LARGEST_JSON = 20_000_000
_CARD_KEYS = {"pretraining", "paradigm", "upstream_accuracy", "upstream_dataset", "upstream_images", "license", "provenance"}
_LOOKED_FOR = (
    f'folders with a config.json of timm\'s and {" or ".join(WEIGHT_FILES)}, and JSON files with the keys "file" (a checkpoint beside it) '
    'and "architecture"'
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a config.json, or the JSON beside a checkpoint, says."""

    blueprint: Blueprint
    weights: Path
    """The file they lie in."""
    num_classes: int
    state_dict: str | None
    """Key under which the weights lie in the file."""
    prefixes: dict[str, str | None]
    """Beginnings of names in the file, and what replaces them; None leaves the weight out; the longest match counts."""
    unset: tuple[str, ...]
    """Names of weights that were not pre-trained and may be missing."""


def open_local(folder: str, source: str | None = None) -> Hub:
    """Every model in a folder and the folders below it, or the one that a path names.

    A file that cannot be understood hides no other: it is named in the hub's ``notes``.

    Args:
        folder: a folder, or one JSON file that describes a checkpoint.
        source: what the cards name as source, before a colon and the model's name; None for the model's own path.

    Raises:
        ModelError: no such folder, or no model in it.
    """
    root = Path(folder).expanduser()
    if not folder or not root.exists():
        raise ModelError(f"the folder {folder!r} does not exist; give a folder of models")
    found = list(_candidates(root))
    if not found:
        raise ModelError(f"no model was found in {root}; looked for {_LOOKED_FOR}")
    entries, notes = [], []
    for path, name in _names(root, found).items():
        try:
            entries.append(_entry(path, name, source, notes))
        except Exception as error:
            notes.append(f"{path}: {error if isinstance(error, HubTuneError) else f'{type(error).__name__}: {error}'}")
    if not entries:
        raise ModelError(f"no model in {root} can be used:\n  " + "\n  ".join(notes))
    return Hub(entries, notes)


def _candidates(root: Path) -> Iterator[Path]:
    """Every JSON file that describes weights; sorted, hidden folders left out."""
    if root.is_file():
        if not _describes(root):
            raise ModelError(f'{root} describes no weights; expected a folder, or a JSON file with the keys "file" and "architecture"')
        yield root
        return
    seen = set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else sorted(name for name in below if not name.startswith("."))
        if real not in seen:
            yield from (path for name in sorted(files) if _describes(path := Path(folder, name)))
        seen.add(real)


def _describes(path: Path) -> bool:
    """Whether a file is a JSON that speaks of weights; one that cannot be read does where weights of its name lie beside it."""
    if path.suffix != ".json" or path.name.startswith("."):
        return False
    if path.name == "config.json":
        return any((path.parent / name).exists() for name in WEIGHT_FILES)
    try:
        content = _read_json(path)
    except ModelError:
        return any(
            (path.parent / f"{path.stem}{end}").exists() for end in (".th", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt", ".safetensors")
        )
    return "file" in content and "architecture" in content


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f"is larger than {_LARGEST_JSON // 10**6} MB; expected a short description")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"cannot be read as JSON ({error}); correct it") from error
    return content if isinstance(content, dict) else {}


def _names(root: Path, found: list[Path]) -> dict[Path, str]:
    """The folder's name of a config.json, else the file's; with the path from the root where several would be equal."""
    own = {path: path.parent if path.name == "config.json" else path.with_suffix("") for path in found}
    short = [model.resolve().name for model in own.values()]
    return {
        path: name if short.count(name) == 1 else model.relative_to(root).as_posix()
        for (path, model), name in zip(own.items(), short, strict=True)
    }


def _entry(path: Path, name: str, source: str | None, notes: list[str]) -> Entry:
    """The model that a JSON file describes; what is odd about it is added to the notes."""
    content = _read_json(path)
    blueprint, num_classes = blueprint_from(content)
    facts = facts_from(content, blueprint)
    ignored = sorted(set(content.get("card") or {}) - _CARD_KEYS - {"unset"})
    if ignored:
        notes.append(f"{path}: card entries that are not known: {', '.join(ignored)}; known: {', '.join(sorted(_CARD_KEYS))}")
    description = Description(
        blueprint=blueprint,
        num_classes=num_classes,
        weights=_weight_file(path, content),
        state_dict=content.get("state_dict"),
        prefixes={str(old): None if new is None else str(new) for old, new in (content.get("prefixes") or {}).items()},
        unset=tuple((content.get("card") or {}).get("unset", ())),
    )
    size = blueprint.measure()
    usable = num_classes if size.has_head and not _lacks_head(description) else 0
    params, flops = size.with_head(usable)
    card = ModelCard(
        name=name,
        source=f"{source}:{name}" if source else str((path.parent if path.name == "config.json" else path).absolute()),
        architecture=blueprint.architecture,
        params=params,
        flops=flops,
        input_size=blueprint.input_size,
        feature_dim=size.feature_dim,
        num_classes=usable,
        sha256=sha256(description.weights),
        **facts,
    )
    return Entry(card, functools.partial(_load, description))


def blueprint_from(content: Mapping[str, Any]) -> tuple[Blueprint, int]:
    """The network and the classes that a description names; timm's older flat form is read too.

    Raises:
        UnknownNameError: an architecture that timm does not know.
        ModelError: anything else that is not as it should be.
    """
    if "architecture" not in content:
        kind = " (it looks like one of the transformers library)" if "architectures" in content or "model_type" in content else ""
        raise ModelError(f'the description has no "architecture"{kind}; expected one of timm\'s: save models with timm.models.save_for_hf')
    cfg = content.get("pretrained_cfg", content)
    model_args = content.get("model_args") or {}
    for key, value in (("pretrained_cfg", cfg), ("model_args", model_args), ("prefixes", content.get("prefixes") or {})):
        if not isinstance(value, Mapping):
            raise ModelError(f'"{key}" holds {value!r}; expected a dictionary')
    num_classes = content.get("num_classes", cfg.get("num_classes", 1000))
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise ModelError(f'"num_classes" holds {num_classes!r}; expected a whole number >= 0')
    args = {key: value for key, value in model_args.items() if key != "num_classes"}
    return Blueprint(architecture=content["architecture"], model_args=args, pretrained_cfg=cfg), num_classes


def facts_from(content: Mapping[str, Any], blueprint: Blueprint) -> dict[str, Any]:
    """What the ``card`` of a description adds to a model's card.

    Raises:
        ModelError: it is no dictionary.
    """
    facts = content.get("card") or {}
    if not isinstance(facts, Mapping):
        raise ModelError(f'"card" holds {facts!r}; expected a dictionary')
    return {"license": blueprint.pretrained_cfg.get("license"), **{key: facts[key] for key in _CARD_KEYS & set(facts)}}


def _weight_file(path: Path, content: Mapping[str, Any]) -> Path:
    if path.name == "config.json":
        return next(path.parent / name for name in WEIGHT_FILES if (path.parent / name).exists())
    file = content["file"]
    if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
        raise ModelError(f'"file" holds {file!r}; expected the name of a file beside the JSON')
    if not (path.parent / file).is_file():
        raise ModelError(f'the weight file {path.parent / file} does not exist; restore it, or correct "file"')
    return path.parent / file


def _lacks_head(description: Description) -> bool:
    """Whether the file is known to hold no weights of the classifier."""
    heads = tuple(f"{part}." for part in description.blueprint.classifier)
    names = weight_names(description.weights)
    return (
        bool(heads) and names is not None and not any(name.startswith(heads) for name in rename(dict.fromkeys(names), description.prefixes))
    )


def _load(description: Description, card: ModelCard, input_size: int | None) -> Backbone:
    blueprint = description.blueprint
    weights = rename(read_weights(description.weights, description.state_dict), description.prefixes)
    if card.sha256 != sha256(description.weights):  # what is remembered under the card's hash would be another model's
        raise ModelError(f"the weight file {description.weights} has changed since the hub was opened; open the hub again")
    heads = tuple(f"{part}." for part in blueprint.classifier)
    network = blueprint.build(description.num_classes)
    lacking = load_exactly(network, weights, may_lack=(*heads, *description.unset))
    if any(name.startswith(heads) for name in lacking):
        network.reset_classifier(0)
    return TimmBackbone.from_network(network, blueprint, card, input_size)
