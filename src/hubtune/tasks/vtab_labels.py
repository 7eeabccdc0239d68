"""Labels of the VTAB tasks that TensorFlow Datasets does not have as they are: from a row's features to a class.

Source: Zhai et al. (2019), "A Large-scale Study of Representation Learning with the Visual Task Adaptation Benchmark", appendix A.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
"""Bounds of the distance to the nearest object."""
KITTI_DISTANCES = (-100.0, 8.0, 20.0, 999.0)
"""Bounds of the distance to the nearest vehicle, in metres; beyond the last there is none."""
_NO_VEHICLE = 1000.0
_VEHICLES = 3  # types 0, 1, 2: car, van, truck
_FEWEST_OBJECTS = 3


def bin_of(value: float, thresholds: Sequence[float]) -> int:
    """The largest index whose threshold lies strictly below the value.

    Args:
        value: above the first threshold.
        thresholds: rising.

    Raises:
        ValueError: no threshold lies below the value.
    """
    below = [index for index, threshold in enumerate(thresholds) if threshold < value]
    if not below:
        raise ValueError(f"{value} is not above {thresholds[0]}")
    return below[-1]


def clevr_count(objects: Any) -> int:
    """The number of objects minus 3: 0 to 7."""
    return len(_column(objects, "pixel_coords")) - _FEWEST_OBJECTS


def clevr_distance(objects: Any) -> int:
    """The bin of the smallest z of ``pixel_coords`` (x, y, z): 0 to 5."""
    return bin_of(min(z for _, _, z in _column(objects, "pixel_coords")), CLEVR_DISTANCES)


def kitti_distance(objects: Any) -> int:
    """The bin of the smallest z of ``location`` (x, y, z) among cars, vans and trucks: 0 to 3, the last where there is none."""
    kinds, places = _column(objects, "type"), _column(objects, "location")
    distances = [z for kind, (_, _, z) in zip(kinds, places, strict=True) if kind < _VEHICLES]
    return bin_of(min([*distances, _NO_VEHICLE]), KITTI_DISTANCES)


def grouped(width: float) -> Callable[[int], int]:
    """``floor(value / width)``: neighbouring values become one class."""

    def label(value: int) -> int:
        return int(value // width)

    return label


def _column(objects: Any, name: str) -> Sequence[Any]:
    """One feature of all objects, which come as a mapping of lists or as a list of mappings."""
    return objects[name] if isinstance(objects, Mapping) else [each[name] for each in objects]
