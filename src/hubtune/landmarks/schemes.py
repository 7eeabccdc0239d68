"""Which points a data set marks: how many, which are mirror images of each other, and what an error is measured by."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """The points of one data set; indices count from 0."""

    points: int
    """How many."""
    pairs: Pairs
    """Points that a mirror exchanges; any other lies on the middle line."""
    normalizer: tuple[int, int] | None
    """Two points whose distance an error is divided by; None: the longer side of the box around the true points."""
    sigma: float = 1.5
    """Width of a heatmap's bell in heatmap pixels."""


def _from_one(*pairs: tuple[int, int]) -> Pairs:
    return tuple((left - 1, right - 1) for left, right in pairs)


W300 = Scheme(
    points=68,
    pairs=_from_one(
        *((i, 18 - i) for i in range(1, 9)),
        *((i, 45 - i) for i in range(18, 23)),
        *((32, 36), (33, 35)),
        *((37, 46), (38, 45), (39, 44), (40, 43), (41, 48), (42, 47)),
        *((49, 55), (50, 54), (51, 53), (60, 56), (59, 57), (61, 65), (62, 64), (68, 66)),
    ),
    normalizer=(36, 45),
    sigma=1.0,
)
WFLW = Scheme(
    points=98,
    pairs=(
        *((i, 32 - i) for i in range(16)),
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
        *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73)),
        *((55, 59), (56, 58)),
        *((76, 82), (77, 81), (78, 80), (87, 83), (86, 84), (88, 92), (89, 91), (95, 93), (96, 97)),
    ),
    normalizer=(60, 72),
)
COFW = Scheme(
    points=29,
    pairs=_from_one((1, 2), (3, 4), (5, 7), (6, 8), (9, 10), (11, 12), (13, 15), (14, 16), (17, 18), (19, 20), (23, 24)),
    normalizer=(8, 9),
)
SCHEMES: Mapping[str, Scheme] = MappingProxyType({"300w": W300, "wflw": WFLW, "cofw": COFW})
"""By the name that a specification begins with. Source: Sun et al. (2019), HRNet for facial landmark detection, the authors' code."""
