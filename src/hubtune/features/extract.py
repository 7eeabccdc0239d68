"""What a frozen model says about each image."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import ModelError
from hubtune.features.cache import FeatureCache
from hubtune.features.memory import is_out_of_memory
from hubtune.hub import Backbone
from hubtune.runs import cache_folder
from hubtune.tasks import Split

CHUNK = 256
"""Images a file of the cache, and what is lost at most when a process is killed."""


@dataclass(frozen=True)
class Features:
    """Of one split, in the split's order, on the CPU."""

    embeddings: Float[Tensor, "N D"]
    logits: Float[Tensor, "N L"] | None
    """Of the model's own upstream head; None where it has none."""
    computed: int
    """Images that needed a forward pass; the others were known."""


def feature_cache(fingerprint: str, canvas_size: int | None) -> FeatureCache:
    """The cache of one model. The canvas is part of the key: an image reaches the model through it."""
    return FeatureCache(cache_folder() / "features" / f"{fingerprint[:32]}-{canvas_size or 'native'}")


def recall(fingerprint: str, split: Split, canvas_size: int | None) -> Features | None:
    """The features of a split where every image of it is known, without the model; else None.

    Args:
        fingerprint: the model's.
        canvas_size: as for extract.
    """
    known, missing = feature_cache(fingerprint, canvas_size).read(split.image_keys)
    return None if missing else Features(known["embeddings"], known.get("logits"), 0)


def extract(
    backbone: Backbone,
    split: Split,
    canvas_size: int | None,
    device: torch.device | str = "cpu",
    *,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Features:
    """Features of every image of a split; only images that this model has not seen cost a forward pass.

    Args:
        canvas_size: side in pixels of the images handed to the model's ``view``; None is the split's native size.
        batch_size: images a forward pass; halved as often as memory runs out.
        on_progress: told the number of images each time some are done.

    Raises:
        ModelError: the model yields values that are not numbers.
    """
    cache = feature_cache(backbone.fingerprint, canvas_size)
    known, missing = cache.read(split.image_keys)
    on_progress(len(split) - len(missing))
    if missing:
        backbone = backbone.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        for start in range(0, len(missing), CHUNK):
            rows = missing[start : start + CHUNK]
            parts: list[dict[str, Tensor]] = []
            try:
                _forward(backbone, split, rows, canvas_size, device, batch_size, on_progress, parts)
            finally:  # what a deadline or Ctrl-C cut short is kept
                tensors = _joined(parts)
                if parts:
                    cache.write([split.image_keys[row] for row in rows[: len(tensors["embeddings"])]], tensors)
            for name, value in tensors.items():
                if name not in known:
                    known[name] = value.new_empty((len(split), *value.shape[1:]))
                known[name][rows] = value
    return Features(known["embeddings"], known.get("logits"), len(missing))


@torch.inference_mode()
def _forward(backbone, split: Split, rows: list[int], canvas_size, device, batch_size: int, on_progress, parts: list[dict[str, Tensor]]):
    """Append the features of the rows, batch by batch."""
    start = 0
    while start < len(rows):
        batch = rows[start : start + batch_size]
        try:
            embeddings = backbone.embed(backbone.view(split.canvas(batch, canvas_size).to(device)))
            part = {"embeddings": embeddings}
            if backbone.num_logits:
                part["logits"] = backbone.classify(embeddings)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise ModelError(f"{backbone.card.name}: one image alone does not fit into memory; choose a smaller input_size") from error
            batch_size //= 2
            warnings.warn(f"memory ran out: {backbone.card.name} goes on with batches of {batch_size}", RuntimeWarning, stacklevel=2)
            continue
        parts.append({name: value.float().cpu() for name, value in part.items()})
        start += len(batch)
        on_progress(len(batch))


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if not parts:
        return {}
    tensors = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    embeddings = tensors["embeddings"]
    bad = int((~torch.isfinite(embeddings).all(1)).sum())
    if bad:
        raise ModelError(
            f"NaN or infinite features on {bad} of {len(embeddings)} images; the model's weights may be damaged or its preprocessing "
            "wrong: leave it out with --where, or repair its files"
        )
    return tensors
