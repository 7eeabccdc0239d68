"""Images kept as read, and decoded once while memory allows."""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from hubtune.errors import DataError
from hubtune.tasks.images import ImageSource, decode, inspect, squash

T = TypeVar("T")
R = TypeVar("R")
_FIRST = 32
# Below this many pixels an image decodes faster than one thread can hand the interpreter's lock to another.
_PIXELS_WORTH_A_THREAD = 256 * 256


class DecodedBudget:
    """How many bytes of decoded images this process keeps, over all its tasks; beyond it images are decoded again when asked for."""

    def __init__(self, limit: int):
        self.limit = limit
        self.used = 0
        self._lock = threading.Lock()

    def reserve(self, size: int) -> bool:
        """Whether ``size`` bytes were still free; they now are not."""
        with self._lock:
            fits = self.used + size <= self.limit
            self.used += size if fits else 0
            return fits

    def release(self, holder: list[int]) -> None:
        """Give back what ``holder`` counts."""
        with self._lock:
            self.used -= holder[0]
            holder[0] = 0


BUDGET = DecodedBudget(limit=2**30)


class ImageStore:
    """A row of images: encoded bytes, paths or arrays, inspected once, decoded on demand.

    Decoded images are kept up to ``BUDGET.limit`` bytes over the whole process (1 GiB), so that an epoch does not decode again;
    they are dropped with the store, and never travel to another process with it.

    Args:
        sources: the images; those that cannot be read end up in ``failures`` and must not be asked for.
    """

    def __init__(self, sources: Sequence[ImageSource]):
        self.sources = list(sources)
        self.failures: dict[int, str] = {}
        """reason of each image that cannot be read"""
        self.keys: list[str] = []
        """sha256 of each image's content"""
        self.sizes = np.zeros((len(self.sources), 2), dtype=np.int64)
        """height and width of each image"""
        self.highest: dict[int, int] = {}
        """the largest value of each file of 16-bit greyscale, before it is scaled"""
        self._start_cache()
        self._inspect_all()

    def _start_cache(self) -> None:
        self._decoded: dict[tuple[int, int | None], np.ndarray] = {}
        self._held = [0]
        weakref.finalize(self, BUDGET.release, self._held)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_decoded", "_held")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start_cache()

    def __len__(self) -> int:
        return len(self.sources)

    def native_size(self, rows: np.ndarray) -> tuple[int, int] | None:
        """Height and width that all of ``rows`` share, or None."""
        sizes = self.sizes[rows]
        if len(sizes) == 0 or (sizes != sizes[0]).any():
            return None
        return int(sizes[0, 0]), int(sizes[0, 1])

    def canvas(self, rows: Sequence[int] | np.ndarray, size: int | None) -> UInt8[Tensor, "B 3 H W"]:
        """The images of ``rows``, in that order.

        Args:
            rows: positions in the store.
            size: side of the square they are squashed to, in pixels (bicubic, antialiased, proportions not kept), or None for the
                native pixels.

        Raises:
            DataError: native pixels asked of images of several sizes.
        """
        rows = np.asarray(rows, dtype=np.int64)
        native = self.native_size(rows)
        if size is None and native is None and len(rows):
            raise DataError(
                f"given images of several sizes, from {self.sizes[rows].min(0).tolist()} to {self.sizes[rows].max(0).tolist()} "
                "(height, width); expected one size: ask for a canvas of a given size"
            )
        if native == (size, size):
            size = None
        if not len(rows):
            return torch.empty(0, 3, size or 0, size or 0, dtype=torch.uint8)
        missing = [int(row) for row in np.unique(rows) if (int(row), size) not in self._decoded]
        fresh: dict[int, np.ndarray] = {}
        for row, pixels in zip(missing, self._map(lambda row: self._pixels(row, size), missing), strict=True):
            if not self._keep(row, size, pixels):
                fresh[row] = pixels
        stack = [fresh[row] if row in fresh else self._decoded[row, size] for row in rows.tolist()]
        return torch.from_numpy(np.stack(stack))

    def _pixels(self, row: int, size: int | None) -> np.ndarray:
        native = self._decoded.get((row, None))
        pixels = decode(self.sources[row]) if native is None else native.transpose(1, 2, 0)
        return np.ascontiguousarray((pixels if size is None else squash(np.ascontiguousarray(pixels), size)).transpose(2, 0, 1))

    def _keep(self, row: int, size: int | None, pixels: np.ndarray) -> bool:
        free = size is None and isinstance(self.sources[row], np.ndarray)
        if free or not BUDGET.reserve(pixels.nbytes):
            return False
        self._held[0] += pixels.nbytes
        self._decoded[row, size] = pixels
        return True

    def _forget(self) -> None:
        self._decoded.clear()
        BUDGET.release(self._held)

    def _inspect_all(self) -> None:
        keeping = True

        def look(row: int):
            try:
                found = inspect(self.sources[row])
            except DataError as error:
                return str(error)
            chw = None if found.pixels is None or not keeping else np.ascontiguousarray(found.pixels.transpose(2, 0, 1))
            return found.key, (found.height, found.width), chw, found.highest

        first: tuple[int, int] | None = None
        for row, found in enumerate(self._map(look, range(len(self)))):
            if isinstance(found, str):
                self.failures[row] = found
                self.keys.append("")
                continue
            key, size, pixels, highest = found
            if highest is not None:
                self.highest[row] = highest
            self.keys.append(key)
            self.sizes[row] = size
            first = first or size
            # Native pixels are only ever asked for where all images share one small size.
            keeping = keeping and size == first and pixels is not None and self._keep(row, None, pixels)
        if self.native_size(np.flatnonzero(self.sizes.any(axis=1))) is None:
            self._forget()

    def _map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``, several at a time where images are large enough for threads to pay."""
        if not self.sizes.any():
            yield from map(function, items[:_FIRST])
            items = items[_FIRST:]
        known = self.sizes[self.sizes.any(axis=1)]
        if not len(items) or not len(known) or known.prod(axis=1).mean() < _PIXELS_WORTH_A_THREAD:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(min(16, cpu_count() or 1)) as pool:
            yield from pool.map(function, items)
