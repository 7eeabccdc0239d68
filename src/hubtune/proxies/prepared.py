"""What every estimator needs before its own mathematics: checked features and labels, and the matrices several of them share."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import DataError

_THREADS = threading.Lock()
_MOST_PAIRED = 10_000


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The non-zero part of an eigendecomposition K = U diag(λ) Uᵀ of an N x N matrix of inner products."""

    basis: Float[Tensor, "N k"]
    """U: orthonormal columns, one for each direction that the features really span."""
    values: Float[Tensor, " k"]
    """λ: ascending, all above the tolerance; N times the variances along the directions."""


class Features:
    """N rows of D features, checked once; what several estimators share is computed when it is first asked for, then kept.

    Wherever an estimator takes features, a tensor or this value works; with this value, at most two eigendecompositions serve all
    estimators of one model. All shared matrices are those of Z = (X - mean) / scale with scale = max |X - mean|: no sum of squares can
    then overflow, and every estimator that does not depend on the unit of the features may use Z as it is.
    """

    def __init__(self, rows: Float[Tensor, "N D"]):
        """Checks the features.

        Args:
            rows: (N, D), floating; half precision is upcast to float32. Kept by reference: do not change it afterwards.

        Raises:
            DataError: not two-dimensional and floating, fewer than two rows, values that are not finite, or all rows equal.
        """
        self.rows = check_rows("features", rows)
        if len(self.rows) < 2:
            raise DataError(f"features: {len(self.rows)} image given, at least 2 expected; use more images")
        self.mean: Float[Tensor, " D"] = self.rows.mean(0, dtype=torch.float64)
        """The mean row, float64."""
        least, most = self.rows.amin(0), self.rows.amax(0)
        self.scale = float(torch.maximum(most - self.mean, self.mean - least).max())
        """The largest absolute value of the centred features."""
        if bool((least == most).all()):
            raise DataError(
                f"features: all {len(self.rows)} images have the same features, so they say nothing about the labels; "
                "check the model's weights and preprocessing"
            )
        self._grams: dict[torch.dtype, Tensor] = {}
        self._spectra: dict[tuple[bool, torch.dtype], Spectrum] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """D, the number of features of an image."""
        return self.rows.shape[1]

    @property
    def dual(self) -> bool:
        """Whether N <= D, so that the N x N matrix of inner products is the smaller one."""
        return len(self.rows) <= self.dim

    @cached_property
    def unit(self) -> Float[Tensor, "N D"]:
        """Z = (X - mean) / scale, float64."""
        return self.rows.to(torch.float64, copy=True).sub_(self.mean).div_(self.scale)

    def _unit(self, dtype: torch.dtype) -> Float[Tensor, "N D"]:
        """Z in the precision asked for, without a float64 copy where none is needed."""
        if dtype == torch.float64 or "unit" in self.__dict__:
            return self.unit.to(dtype)
        return self.rows.to(dtype).sub(self.mean.to(dtype)).div_(self.scale)

    def gram(self, dtype: torch.dtype = torch.float64) -> Float[Tensor, "side side"]:
        """Z Zᵀ (N, N) where N <= D, else Zᵀ Z (D, D)."""
        if torch.float64 in self._grams:
            return self._grams[torch.float64].to(dtype)
        if dtype not in self._grams:
            unit = self._unit(dtype)
            self._grams[dtype] = _inner_products(unit if self.dual else unit.T)
        return self._grams[dtype]

    def tolerance(self, dtype: torch.dtype) -> float:
        """The share of the largest eigenvalue below which a direction is rounding noise.

        Either the features themselves are not known better, (max(N, D) eps)² of their own precision as for a matrix rank, or the
        decomposition in `dtype` resolves no more.
        """
        own = max(self.rows.shape) * torch.finfo(self.rows.dtype).eps
        return max(own * own, 64 * torch.finfo(dtype).eps)

    def spectrum(self, *, centered: bool = True, dtype: torch.dtype | None = None) -> Spectrum:
        """The eigendecomposition of Z Zᵀ, or of X Xᵀ / scale² where `centered` is False.

        Args:
            centered: whether the mean is taken off.
            dtype: the precision to decompose in; by default the features' own, which for float32 costs half the time of float64, and
                float64 where directions are weaker than that resolves, as behind a LayerNorm.
        """
        if (centered, torch.float64) in self._spectra:
            return self._spectra[centered, torch.float64]
        if dtype is None:
            found = self.spectrum(centered=centered, dtype=self.rows.dtype)
            whole = len(found.values) == min(len(self) - centered, self.dim)
            return found if whole else self.spectrum(centered=centered, dtype=torch.float64)
        if (centered, dtype) not in self._spectra:
            self._spectra[centered, dtype] = self._decompose(centered, dtype)
        return self._spectra[centered, dtype]

    def _decompose(self, centered: bool, dtype: torch.dtype) -> Spectrum:
        gram, unit = self.gram(dtype), self._unit(dtype)
        if not centered:
            # Made from the centred matrix, never the other way round: adding the mean cancels nothing.
            mean = (self.mean / self.scale).to(dtype)
            cross = unit @ mean
            gram = gram + (cross[:, None] + cross + mean @ mean if self.dual else len(self) * torch.outer(mean, mean))
            unit = unit + mean
        with _one_thread(len(gram)):
            values, vectors = torch.linalg.eigh(gram)
        kept = values > self.tolerance(dtype) * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        return Spectrum(vectors if self.dual else (unit @ vectors).div_(values.sqrt()), values)

    @cached_property
    def squared_distances(self) -> Float[Tensor, "N N"]:
        """|z_i - z_j|², float64; what rounding leaves of equal rows is exactly zero.

        Raises:
            DataError: more images than check_pairs allows.
        """
        check_pairs(len(self))
        gram = self.gram() if self.dual else _inner_products(self.unit)
        norms = gram.diagonal()[:, None] + gram.diagonal()
        distances = norms - 2 * gram
        return distances.masked_fill_(distances < 64 * torch.finfo(torch.float64).eps * norms, 0.0)


@dataclass(frozen=True, eq=False)
class Classes:
    """Class labels of N images, renumbered to the C classes that occur."""

    index: Int[Tensor, " N"]
    """0 .. C-1, in the order of the labels."""
    counts: Float[Tensor, " C"]
    """Images of each class, at least one, float64."""

    def __len__(self) -> int:
        return len(self.counts)

    def one_hot(self) -> Float[Tensor, "N C"]:
        """One 1.0 in each row, float64."""
        return torch.nn.functional.one_hot(self.index, len(self)).double()

    def orthonormal(self) -> Float[Tensor, "N C"]:
        """One-hot columns of unit length: an orthonormal basis of the functions of the class, float64."""
        return self.one_hot() / self.counts.sqrt()


def as_features(features: Tensor | Features) -> Features:
    """The prepared value of a plain tensor; a prepared value as it is."""
    return features if isinstance(features, Features) else Features(features)


def check_rows(name: str, rows: Tensor) -> Float[Tensor, "N D"]:
    """A matrix of finite numbers in at least single precision, detached.

    Args:
        name: what the matrix is, for the message.
        rows: (N, D), floating.

    Raises:
        DataError: another type or shape, no rows or columns, or values that are not finite (the message counts them).
    """
    if not isinstance(rows, Tensor) or rows.dim() != 2 or not rows.is_floating_point() or 0 in rows.shape:
        given = f"{tuple(rows.shape)} of {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise DataError(f"{name}: {given} given, a floating torch tensor of shape (images, values) expected; flatten or pool it first")
    rows = rows.detach()
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    # Both ends are finite only if all values are, NaN included, and cost a tenth of looking at each.
    if not all(math.isfinite(float(end)) for end in rows.aminmax()):
        finite = rows.isfinite()
        nans = int(rows.isnan().sum())
        raise DataError(
            f"{name}: {int((~finite).any(1).sum())} of {len(rows)} images have values that are not finite ({nans} NaN, "
            f"{int((~finite).sum()) - nans} infinite); check the model's weights, its preprocessing and its precision"
        )
    return rows


def check_labels(name: str, labels: Tensor, count: int | None = None) -> Int[Tensor, " N"]:
    """Class numbers as int64, one for each image.

    Args:
        name: what they are, for the message.
        labels: (N,) whole numbers.
        count: N, where other tensors say so.

    Raises:
        DataError: not whole numbers from zero up, or not one for each image.
    """
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not whole or labels.dim() != 1:
        given = f"{tuple(labels.shape)} of {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(f"{name}: {given} given, a torch tensor of whole numbers with one class for each image expected")
    if len(labels) != (len(labels) if count is None else count) or len(labels) == 0:
        raise DataError(f"{name}: {len(labels)} given for {count or 'no'} images; give one label for each image")
    if int(labels.min()) < 0:
        raise DataError(f"{name}: {int((labels < 0).sum())} of {len(labels)} are negative; number classes from 0, drop unlabelled images")
    return labels.detach().long()


def as_classes(labels: Tensor, count: int) -> Classes:
    """The classes that occur among the labels.

    Args:
        labels: (N,) whole numbers; gaps are allowed and add nothing.
        count: N.

    Raises:
        DataError: see check_labels; or one class only.
    """
    checked = check_labels("labels", labels, count)
    present, index, counts = checked.unique(return_inverse=True, return_counts=True)
    if len(present) < 2:
        raise DataError(f"labels: all {count} images are of class {int(present[0])}; at least 2 classes are needed to compare models")
    return Classes(index, counts.double())


def check_pairs(count: int) -> None:
    """Refuses N x N distances that would fill the memory.

    Raises:
        DataError: more than 10,000 images, whose distances take 0.8 GB a copy.
    """
    if count > _MOST_PAIRED:
        raise DataError(
            f"features: all pairs of {count} images do not fit into memory, at most {_MOST_PAIRED} images expected; "
            "take fewer (task.take(train=2000)) or another proxy"
        )


def check_validation(
    prepared: Features, train_labels: Tensor, val_features: Tensor, val_labels: Tensor
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "V D"], Int[Tensor, " N"], Int[Tensor, " V"]]:
    """The four parts of a validation, checked and on the device of the training features.

    Raises:
        DataError: bad features or labels, or features of different widths.
    """
    train = prepared.rows
    val = check_rows("val_features", val_features)
    if val.shape[1] != train.shape[1]:
        raise DataError(f"val_features: {val.shape[1]} values for an image given, {train.shape[1]} as in training expected")
    own = check_labels("train_labels", train_labels, len(train)).to(train.device)
    wanted = check_labels("val_labels", val_labels, len(val)).to(train.device)
    return train, val.to(train.device), own, wanted


def _inner_products(rows: Float[Tensor, "n d"], block: int = 256) -> Float[Tensor, "n n"]:
    """R Rᵀ; of the blocks below the diagonal, none is computed twice, which saves about 40 % of a plain product."""
    product = rows.new_empty(len(rows), len(rows))
    for start in range(0, len(rows), block):
        stop = start + block
        strip = rows[start:stop] @ rows[start:].T
        product[start:stop, start:] = strip
        product[start:, start:stop] = strip.T
    return product


@contextmanager
def _one_thread(side: int) -> Iterator[None]:
    """Up to 2048 rows, an eigendecomposition on one thread beats two: 0.09 against 0.13 s, and no time is burnt waiting."""
    if side > 2048:
        yield
        return
    # The lock keeps two threads that score at once from restoring each other's setting.
    with _THREADS:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
