"""Files of points: rows as they were found, before any image is opened."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import DataError, MissingExtraError
from hubtune.tasks.images import ImageSource

PLACE = ("scale", "center_w", "center_h")
"""Columns that say where the face is; where a file lacks them the box around the points does."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """One row of a file."""

    id: str
    """What the data's owner would call it."""
    image: ImageSource
    points: Float[Tensor, "K 2"]
    """Pixels of the image; NaN where unknown."""
    center: tuple[float, float] | None = None
    """Of its box, in pixels; None: that of the points."""
    scale: float | None = None
    """Side of its box over 200 pixels."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The rows of one file."""

    faces: list[Face]
    broken: list[str] = field(default_factory=list)
    """Rows that cannot be used, each with the reason."""
    point_names: tuple[str, ...] = ()


def read_csv(path: Path, images: Path, points: int | None = None) -> Sheet:
    """Read a CSV file with a header: an image, where the face is, then x and y of each point.

    The first column is the image's path below ``images``; then come, in this order, ``scale``, ``center_w`` and ``center_h`` where the
    header has them; then two columns a point. An empty cell, or "nan", is an unknown point.

    Args:
        points: how many each row must have; None: as many as the header names.

    Raises:
        DataError: there is no file, or no such header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); expected a CSV file with a header") from error
    placed = tuple(header[1:4]) == PLACE
    named = header[4 if placed else 1 :]
    expected = 2 * points if points is not None else len(named)
    if len(header) < 3 or len(named) != expected or expected % 2:
        raise DataError(
            f"given {len(header)} columns in {path}; expected image, {', '.join(PLACE)} (or none of the three), then x and y of "
            f"{points or 'each'} point{'s' if points else ''}"
        )
    faces, broken = [], []
    for number, row in enumerate(rows, start=2):
        name = f"{path.name} line {number}"
        try:
            faces.append(_face(row, len(header), placed, f"{row[0]} ({name})", images))
        except ValueError as error:
            broken.append(f"{name}: {error}")
    return Sheet(faces=faces, broken=broken, point_names=_names(named) if points is None else ())


def _face(row: list[str], columns: int, placed: bool, name: str, images: Path) -> Face:
    """
    Raises:
        ValueError: the row cannot be used.
    """
    first = 4 if placed else 1
    if len(row) != columns:
        raise ValueError(f"{(len(row) - first) / 2:g} points, expected {(columns - first) // 2}")
    if not row[0]:
        raise ValueError("no image is named")
    numbers = [math.nan if cell.lower() in ("", "nan") else float(cell) for cell in row[1:]]
    points = torch.tensor(numbers[first - 1 :], dtype=torch.float32).view(-1, 2)
    # A point with one coordinate only is not known.
    points[~points.isfinite().all(1)] = torch.nan
    place: dict[str, Any] = {"scale": numbers[0], "center": (numbers[1], numbers[2])} if placed else {}
    return Face(id=name, image=images / row[0], points=points, **place)


def _names(columns: list[str]) -> tuple[str, ...]:
    """What the points are called: what the two columns of each have in common, without x and y."""
    names = []
    for x, y in zip(columns[::2], columns[1::2], strict=True):
        common = [rest for rest in (_without(x, "x"), _without(x, "X")) if rest is not None]
        names.append(common[0] if common and common[0] in (_without(y, "y"), _without(y, "Y")) else f"{x},{y}")
    return tuple(names)


def _without(column: str, axis: str) -> str | None:
    """A column's name without its axis: "left_eye_x", "x_left_eye" and "x12" name "left_eye" and "12"."""
    for found in (column.removesuffix(f"_{axis}"), column.removeprefix(f"{axis}_"), column.removeprefix(axis)):
        if found != column:
            return found
    return None


def read_cofw(path: Path, points: int) -> Sheet:
    """Read COFW's ``COFW_train_color.mat`` or ``COFW_test_color.mat``, images included.

    Source: Burgos-Artizzu, Perona and Dollár (2013), Robust face landmark estimation under occlusion.

    Args:
        points: how many there are.

    Raises:
        DataError: there is no file, or another one.
        MissingExtraError: the file is MATLAB's version 7.3, and h5py is not installed.
    """
    try:
        arrays = _mat(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected a file of COFW with color images") from error
    suffix = next((suffix for suffix in ("Tr", "T") if f"phis{suffix}" in arrays and f"Is{suffix}" in arrays), None)
    if suffix is None:
        raise DataError(f"given the arrays {', '.join(sorted(arrays)) or 'none'} in {path}; expected phisTr and IsTr, or phisT and IsT")
    rows, images = arrays[f"phis{suffix}"], arrays[f"Is{suffix}"]
    faces, broken = [], []
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        name = f"{path.name}[{number}]"
        values = np.asarray(row, dtype=np.float32)
        if len(values) < 2 * points:
            broken.append(f"{name}: {len(values) / 2:g} points, expected {points}")
            continue
        found = torch.from_numpy(values[: 2 * points].reshape(2, points).T.copy())
        faces.append(Face(id=name, image=np.asarray(image), points=found))
    return Sheet(faces=faces, broken=broken)


HDF5 = b"\x89HDF\r\n\x1a\n"
"""What a file of MATLAB's version 7.3 begins with, behind a text."""


def _mat(path: Path) -> dict[str, Any]:
    """The arrays of a .mat file: points (N, ...), and images as a list."""
    from scipy.io import loadmat  # Its import takes as long as torch's.

    with path.open("rb") as file:
        if HDF5 in file.read(1024):
            return _mat_73(path)
    found = loadmat(path)
    return {name: list(value.ravel()) if value.dtype == object else value for name, value in found.items() if not name.startswith("__")}


def _mat_73(path: Path) -> dict[str, Any]:
    """MATLAB's version 7.3 is HDF5, with every array transposed and cells as references."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("h5py", "landmarks") from error
    with h5py.File(path, "r") as file:
        return {
            name: [np.asarray(file[cell]).T for cell in np.asarray(value).ravel()] if value.dtype == object else np.asarray(value).T
            for name, value in file.items()
            if isinstance(value, h5py.Dataset)
        }
