"""The heatmap codec: from points to bells, and from whatever a network answers back to points.

A point (x, y) is a fraction of the crop, (0, 0) its upper left corner and (1, 1) its lower right one. Pixel j of s covers j/s to (j+1)/s.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

REACH = 3.0
"""Widths of a bell beyond which nothing of it is left."""


def encode(points: Float[Tensor, "B K 2"], size: int, sigma: float) -> Float[Tensor, "B K s s"]:
    """exp(-((j - u)^2 + (i - v)^2) / (2 sigma^2)) at row i and column j, with (u, v) = s (x, y) - 1/2: a bell of height 1 at most.

    The bell sits between pixels where the point does. An unknown point (NaN) has an empty map.

    Source: Sun et al. (2019), High-resolution representations for labeling pixels and regions, section 4.3.
    Differs from the paper: the authors' code rounds the bell's centre to a pixel.

    Args:
        points: fractions of the crop.
        size: s, side of a heatmap in pixels.
        sigma: in heatmap pixels, > 0.
    """
    places = torch.arange(size, device=points.device, dtype=points.dtype)
    offsets = places - (points.nan_to_num(nan=-math.inf)[..., None] * size - 0.5)
    bells = torch.exp(offsets.square() / (-2 * sigma**2))
    return bells[:, :, 1, :, None] * bells[:, :, 0, None, :]


def within(points: Float[Tensor, "B K 2"], size: int, sigma: float) -> Bool[Tensor, "B K"]:
    """Whether something of a point's bell falls into the heatmap; not so of unknown points."""
    margin = REACH * sigma / size
    return ((points > -margin) & (points < 1 + margin)).all(-1)


def decode(heatmaps: Float[Tensor, "B K s s"]) -> Float[Tensor, "B K 2"]:
    """The highest pixel, moved by a quarter of a pixel towards the higher of its neighbours in each direction.

    Of equally high pixels the first in reading order is taken; at the border, and between equal neighbours, nothing is moved. NaN where
    the highest value is no number.

    Source: Shu et al. (2022), section 4.2; Sun et al. (2019), whose code compares the two neighbours.
    """
    size = heatmaps.shape[-1]
    peaks, places = heatmaps.flatten(2).max(-1)
    row, column = places.div(size, rounding_mode="floor"), places % size
    inside = torch.stack([column, row], -1)
    moved = torch.stack(
        [_slope(heatmaps, row, column, 0, 1) * _inner(column, size), _slope(heatmaps, row, column, 1, 0) * _inner(row, size)], -1
    )
    points = (inside + 0.25 * moved + 0.5) / size
    return torch.where(peaks.isfinite()[..., None], points, torch.nan)


def _inner(place: Tensor, size: int) -> Tensor:
    return (place > 0) & (place < size - 1)


def _slope(heatmaps: Tensor, row: Tensor, column: Tensor, down: int, right: int) -> Tensor:
    """The sign of the difference between the neighbours after and before a pixel."""
    size = heatmaps.shape[-1]

    def value(step: int) -> Tensor:
        rows, columns = (row + step * down).clamp(0, size - 1), (column + step * right).clamp(0, size - 1)
        return heatmaps.flatten(2).gather(2, (rows * size + columns)[..., None])[..., 0]

    return torch.sign(value(1) - value(-1))
