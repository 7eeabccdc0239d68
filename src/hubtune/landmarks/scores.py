"""How good points are: the normalised mean error, and what follows from those of all images."""

import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import DataError

FAILURES = (0.08, 0.10)
"""Errors from which on an image counts as failed."""
LIMIT = 0.10
"""Up to which the error curve is integrated."""


def normalizing_distance(points: Float[Tensor, "N K 2"], normalizer: tuple[int, int] | None) -> Float[Tensor, " N"]:
    """What an error is divided by: the distance of two points, or the longer side of the box around all known points."""
    if normalizer is not None:
        first, second = normalizer
        return (points[:, first] - points[:, second]).norm(dim=-1)
    low, high = points.nan_to_num(nan=torch.inf).amin(1), points.nan_to_num(nan=-torch.inf).amax(1)
    return (high - low).amax(1)


def normalized_mean_error(
    predicted: Float[Tensor, "N K 2"], true: Float[Tensor, "N K 2"], normalizer: tuple[int, int] | None
) -> Float[Tensor, " N"]:
    """NME_n = mean_k |p_nk - t_nk| / d_n over the known points, d_n the distance of two true points of the same image.

    Unchanged when both are scaled and shifted alike. Unknown points (NaN) do not count.

    Source: Shu et al. (2022), section 4.2, with the distance of the outer eye corners.

    Args:
        normalizer: the two points; None: the longer side of the box around the true points.
    """
    return (predicted - true).norm(dim=-1).nanmean(1) / normalizing_distance(true, normalizer)


def failure_rate(errors: Float[Tensor, " N"], threshold: float) -> float:
    """The share of images whose error is above the threshold."""
    return float((errors > threshold).double().mean())


def area_under_curve(errors: Float[Tensor, " N"], limit: float = LIMIT) -> float:
    """The area under the share of images with an error up to e, for e from 0 to the limit, divided by the limit; 1 is perfect.

    That is mean_n max(0, 1 - e_n / limit), exactly.
    """
    return float((1 - errors.double() / limit).clamp_min(0).mean())


def summarize(errors: Float[Tensor, " N"]) -> dict[str, float]:
    """All scores of a split.

    Returns:
        ``closeness``, 1 - NME, by which models are chosen, since there higher is better; ``nme``; ``failure_8`` and ``failure_10``, the
        shares of images with an error above 8 and 10 %; ``auc_10``.
    """
    if not len(errors):
        raise DataError("given no images to score; expected at least one")
    error = float(errors.double().mean())
    failures = {f"failure_{round(100 * threshold)}": failure_rate(errors, threshold) for threshold in FAILURES}
    return {"closeness": 1 - error, "nme": error, **failures, f"auc_{round(100 * LIMIT)}": area_under_curve(errors)}
