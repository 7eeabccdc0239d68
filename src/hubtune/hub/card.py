"""What is known of a pre-trained model before any of its weights are read."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubtune.errors import ConfigurationError, unknown_name

_LARGEST = 2**63 - 1  # what a column of SQLite holds


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A pre-trained model's facts. Checked once when made; all mistakes are reported at once.

    Raises:
        ConfigurationError: fields with impossible values.
    """

    name: str
    """Unique within its hub."""
    source: str
    """Where it is loaded from: a folder, or a source and a name such as ``timm:resnet50.a1_in1k``; ``Hub.open`` takes it."""
    architecture: str
    """Name of the network, timm's where timm has it."""
    pretraining: str = "unknown"
    """Data of the pre-training; stages are joined by ", then "."""
    paradigm: str = "unknown"
    """How it was pre-trained: "supervised classification", "self-supervised", "semantic segmentation", ..."""
    params: int
    """Number of parameters, the upstream head included as in published tables; >= 0."""
    flops: int | None = None
    """Floating-point operations (2 x multiply-adds) of one image at ``input_size``; None where unknown."""
    input_size: int
    """Side of the square input in pixels, >= 1."""
    feature_dim: int | None = None
    """Length D of the embedding, >= 1; None where unknown before loading."""
    num_classes: int = 0
    """Classes of the upstream head; 0 where there is none."""
    upstream_accuracy: float | None = None
    """Top-1 accuracy on ``upstream_dataset``, from 0 to 1; comparable only among equal ``upstream_dataset``."""
    upstream_dataset: str | None = None
    """What the upstream head classifies, such as "ImageNet-1k"."""
    upstream_images: int | None = None
    """Distinct images of the pre-training, >= 0; of its largest stage where there were several."""
    license: str | None = None
    """Licence of the weights, an SPDX name in lower case where it has one."""
    provenance: str | None = None
    """Who published the weights."""
    sha256: str | None = None
    """Of the weight file, 64 hexadecimal digits; None where it is not on this machine yet."""

    def __post_init__(self) -> None:
        mistakes = []
        for field, (low, needed) in _WHOLE.items():
            value = getattr(self, field)
            if value is None and not needed:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= _LARGEST:
                mistakes.append(f"{field} = {value!r}: expected a whole number >= {low}{'' if needed else ' or None'}")
        for field in FIELDS:
            value = getattr(self, field)
            if field in _WHOLE or field == "upstream_accuracy" or (value is None and field in _OPTIONAL):
                continue
            if not isinstance(value, str) or not value.strip():
                mistakes.append(f"{field} = {value!r}: expected text that is not empty")
        accuracy = self.upstream_accuracy
        if accuracy is not None and (
            isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or math.isnan(accuracy) or not 0 <= accuracy <= 1
        ):
            mistakes.append(f"upstream_accuracy = {accuracy!r}: expected a fraction from 0 to 1 or None (75 % is 0.75)")
        if isinstance(self.sha256, str) and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            mistakes.append(f"sha256 = {self.sha256!r}: expected 64 digits 0-9a-f or None")
        if mistakes:
            raise ConfigurationError(f"the card of model {self.name!r} cannot be right:\n  " + "\n  ".join(mistakes))

    def size_within(self, limit: int | None) -> int:
        """The input size under a limit: models made for larger images see ``limit`` pixels a side, the others keep their own size."""
        return self.input_size if limit is None else min(limit, self.input_size)

    def to_dict(self) -> dict[str, Any]:
        """Every field, ready for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ModelCard":
        """The card that ``to_dict`` described.

        Raises:
            UnknownNameError: a key that is no field.
            ConfigurationError: missing fields, or impossible values.
        """
        for key in fields:
            if key not in FIELDS:
                raise unknown_name("field of a model card", str(key), FIELDS)
        missing = [field for field in _NEEDED if field not in fields]
        if missing:
            raise ConfigurationError(
                f"a model card was given without {', '.join(missing)}: expected at least {', '.join(_NEEDED)}; add them"
            )
        return cls(**fields)


FIELDS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(ModelCard))
"""Names of a card's fields, in order: the columns of ``Hub.where``."""

_NEEDED = tuple(field.name for field in dataclasses.fields(ModelCard) if field.default is dataclasses.MISSING)
_OPTIONAL = {field.name for field in dataclasses.fields(ModelCard) if field.default is None}
# field: (lowest value, whether it must be known)
_WHOLE = {
    "params": (0, True),
    "flops": (0, False),
    "input_size": (1, True),
    "feature_dim": (1, False),
    "num_classes": (0, True),
    "upstream_images": (0, False),
}
