"""A split: images, what is to be predicted of them, and where they came from."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.tasks.store import ImageStore


class Split:
    """Rows of an image store with their targets; final.

    Args:
        store: the images, shared with the other splits of the task.
        rows: positions in the store, in the order of this split.
        targets: (N, ...) what is to be predicted; class indices (int64) for classification.
        ids: a name for each image that its owner understands: a file's path, or "train[12]".
    """

    def __init__(self, store: ImageStore, rows: Sequence[int] | np.ndarray, targets: Tensor, ids: Sequence[str]):
        self.store = store
        self.rows = np.asarray(rows, dtype=np.int64)
        self.targets = targets
        self.ids = tuple(ids)
        if not len(self.rows) == len(targets) == len(self.ids):
            raise ConfigurationError(
                f"given {len(self.rows)} images, {len(targets)} targets and {len(self.ids)} ids; expected as many of each"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Split({len(self)} images, native_size={self.native_size})"

    @property
    def native_size(self) -> tuple[int, int] | None:
        """Height and width in pixels that all images share, or None."""
        return self.store.native_size(self.rows)

    def canvas(self, indices: Sequence[int] | Tensor | np.ndarray | slice, size: int | None) -> UInt8[Tensor, "B 3 H W"]:
        """Images as one uint8 tensor, RGB.

        Args:
            indices: which rows of this split, in the order wanted.
            size: side in pixels of the square that images are squashed to (bicubic, antialiased, proportions not kept), or None for
                their native pixels, which only images of one size have in common.

        Raises:
            DataError: ``size`` is None and the images have several sizes.
        """
        chosen = self.rows[indices if isinstance(indices, slice) else np.asarray(indices, dtype=np.int64)]
        return self.store.canvas(chosen, size)

    def take(self, n: int) -> "Split":
        """The first ``n`` rows; all of them where there are fewer."""
        return self.select(range(min(n, len(self))))

    def select(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """The rows at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Split(self.store, self.rows[chosen], self.targets[torch.from_numpy(chosen)], [self.ids[i] for i in chosen])

    @cached_property
    def image_keys(self) -> tuple[str, ...]:
        """sha256 of each image's content (its encoded bytes, or its pixels where it never was encoded), in order."""
        return tuple(self.store.keys[row] for row in self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the images' contents, in order; targets and ids are not part of it."""
        return hashlib.sha256("\n".join(self.image_keys).encode()).hexdigest()

    @cached_property
    def labels_fingerprint(self) -> str:
        """sha256 over the targets: their type, shape and values."""
        values = self.targets.detach().cpu().contiguous().numpy()
        digest = hashlib.sha256(f"{values.dtype.str} {values.shape} ".encode())
        digest.update(values.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Size and fingerprints, as JSON."""
        return {"images": len(self), "fingerprint": self.fingerprint, "labels_fingerprint": self.labels_fingerprint}
