"""From files of faces to a task: read, leave out what cannot be used, crop, cut what is missing, note what is odd."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hubtune.errors import ConfigurationError, DataError, unknown_name
from hubtune.landmarks import faces
from hubtune.landmarks.geometry import Box, Crop
from hubtune.landmarks.reading import Face, Sheet, read_cofw, read_csv
from hubtune.landmarks.schemes import COFW, W300, WFLW, Scheme
from hubtune.landmarks.scores import normalizing_distance
from hubtune.landmarks.task import Landmarks
from hubtune.tasks import Split
from hubtune.tasks.checks import counted, shown
from hubtune.tasks.cutting import held_out
from hubtune.tasks.opening import option_problems
from hubtune.tasks.reading import existing, split_in
from hubtune.tasks.store import ImageStore

CROP = 1.25
"""How much larger than the face's box the crop is. Source: Sun et al. (2019), the authors' code."""
COMMON = {"name": None, "seed": 0, "val_fraction": 0.1, "test_fraction": 0.2, "skip_limit": 0.1, "crop": CROP, "take": None}
SETTINGS = (
    *("heatmap_size", "sigma", "head_channels", "augmentation"),
    *("rotation", "rotation_probability", "scaling", "flip_probability"),
)
"""Fields of Landmarks that every source lets one choose."""


def open_300w(location: str, **options: Any) -> Landmarks:
    """300W as the authors of HRNet lay it out: a folder with ``face_landmarks_300w_train.csv``, ``..._valid.csv`` (the full test set)
    and ``images``. Options: as `open_points`, without pairs and normalizer.
    """
    files = {"train": "face_landmarks_300w_train.csv", "test": "face_landmarks_300w_valid.csv"}
    return _open_csv_folder("300w", location, files, ("images",), W300, options)


def open_wflw(location: str, **options: Any) -> Landmarks:
    """WFLW as the authors of HRNet lay it out: a folder with ``face_landmarks_wflw_train.csv``, ``..._test.csv`` and ``images``.
    Options: as `open_points`, without pairs and normalizer.
    """
    files = {"train": "face_landmarks_wflw_train.csv", "test": "face_landmarks_wflw_test.csv"}
    return _open_csv_folder("wflw", location, files, ("images", "WFLW_images"), WFLW, options)


def open_cofw(location: str, **options: Any) -> Landmarks:
    """COFW: a folder with ``COFW_train_color.mat`` and ``COFW_test_color.mat``. Options: as `open_points`, without pairs, normalizer and
    images.
    """
    chosen = _Options("cofw", options)
    folder = existing(location, "a folder with COFW_train_color.mat")
    sheets = {split: read_cofw(folder / f"COFW_{split}_color.mat", COFW.points) for split in ("train", "test")}
    return _assemble(chosen, f"cofw:{folder.resolve()}", "cofw", sheets, COFW)


def _files_by_split(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*.csv")):
        if split := split_in(file.stem):
            if split in files:
                raise DataError(f"{files[split].name} and {file.name} both are of the {split} split; expected one file for each")
            files[split] = file
    return files


def open_points(location: str, **options: Any) -> Landmarks:
    """A CSV file of points with a header, or a folder of such files whose names hold train, val or test.

    Args:
        location: the file or folder; `read_csv` says what a file holds.
        options: ``images`` (the folder that images are named from; by default that of the file), ``pairs`` (such as "0-16,1-15"; by
            default points called left_NAME and right_NAME), ``normalizer`` (such as "36-45"; by default the box of the true points),
            ``crop`` (how much larger than the face's box a crop is), ``val_fraction`` and ``test_fraction`` (of the training rows, where
            a file is missing), ``seed`` (of the cut), ``skip_limit`` (the fraction of rows that may be left out), ``name``, ``take``, and
            the fields of `Landmarks` in `SETTINGS`.
    """
    chosen = _Options("points", options, "images", "pairs", "normalizer")
    path = existing(location, "a CSV file of points, or a folder of them")
    files = {"train": path} if path.is_file() else _files_by_split(path)
    if "train" not in files:
        raise DataError(f"given {location!r}, where no CSV file has train in its name; expected at least that one")
    images = Path(chosen.own["images"]).expanduser() if chosen.own["images"] else None
    sheets = {split: read_csv(file, images or file.parent) for split, file in files.items()}
    names = sheets["train"].point_names
    odd = [files[split].name for split, sheet in sheets.items() if sheet.point_names != names]
    if odd:
        raise DataError(f"{', '.join(odd)} names other points than {files['train'].name}; expected the same columns in the same order")
    pairs = _pairs_of(names) if chosen.own["pairs"] is None else _read_pairs(chosen.own["pairs"], "pairs")
    normalizer = _read_normalizer(chosen.own["normalizer"], len(names)) if chosen.own["normalizer"] else None
    scheme = Scheme(points=len(names), pairs=pairs, normalizer=normalizer)
    return _assemble(chosen, f"points:{path.resolve()}", path.stem, sheets, scheme, names)


def open_faces(location: str, **options: Any) -> Landmarks:
    """The embedded task of drawn faces, 64 x 64: 800 to train, 200 to validate, 1000 to test. Options: name, take, and `SETTINGS`."""
    chosen = _Options("demo:faces", options, only=("name", "take"))
    drawn = {split: faces.render(split) for split in faces.SIZES}
    store = ImageStore([image for images, _ in drawn.values() for image in images])
    splits, first = {}, 0
    for split, (images, points) in drawn.items():
        rows = range(first, first + len(images))
        splits[split] = Split(store, list(rows), torch.from_numpy(points), [f"{split}[{i}]" for i in range(len(images))])
        first += len(images)
    task = Landmarks(
        name=chosen.common["name"] or "faces",
        **splits,
        pairs=faces.PAIRS,
        normalizer=faces.NORMALIZER,
        point_names=faces.POINT_NAMES,
        **{"heatmap_size": 32, "sigma": 1.0, "head_channels": 32} | chosen.settings,
        source={"spec": "demo:faces", **chosen.given},
    )
    return chosen.taken(task)


class _Options:
    """Options of Task.open, sorted by what they are for."""

    def __init__(self, source: str, options: Mapping[str, Any], *own: str, only: Sequence[str] = tuple(COMMON)):
        known = [*only, *own, *SETTINGS]
        for name in options:
            if name not in known:
                raise unknown_name(f"option of {source}", name, known)
        self.common = COMMON | {name: value for name, value in options.items() if name in only}
        self.own = {name: options.get(name) for name in own}
        self.settings = {name: options[name] for name in SETTINGS if name in options}
        self.given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items() if name != "take"}
        problems = option_problems(**{name: value for name, value in self.common.items() if name not in ("name", "crop")})
        if not (isinstance(self.common["crop"], int | float | np.floating) and self.common["crop"] > 0):
            problems.append(f"crop={self.common['crop']!r}: expected a factor above 0")
        if problems:
            raise ConfigurationError("these options of Task.open cannot work: " + "; ".join(problems))

    def taken(self, task: Landmarks) -> Landmarks:
        return task.take(**self.common["take"]) if self.common["take"] else task


def _open_csv_folder(
    source: str, location: str, files: Mapping[str, str], images: Sequence[str], scheme: Scheme, options: Mapping[str, Any]
) -> Landmarks:
    chosen = _Options(source, options, "images")
    folder = existing(location, f"a folder with {files['train']}")
    default = next((folder / name for name in images if (folder / name).is_dir()), folder)
    root = Path(chosen.own["images"]).expanduser() if chosen.own["images"] else default
    sheets = {split: read_csv(folder / file, root, scheme.points) for split, file in files.items()}
    return _assemble(chosen, f"{source}:{folder.resolve()}", source, sheets, scheme)


def _pairs_of(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Points whose names differ by left and right."""
    index = {name: i for i, name in enumerate(names)}
    return tuple((i, index[right]) for name, i in index.items() if "left" in name and (right := name.replace("left", "right")) in index)


def _read_pairs(given: Any, option: str) -> tuple[tuple[int, int], ...]:
    """Pairs of point numbers, as numbers or as text such as "0-16,1-15"."""
    parts: Any = [part.split("-") for part in given.split(",") if part.strip()] if isinstance(given, str) else given
    try:
        parts = [parts] if option == "normalizer" and all(isinstance(part, int) for part in parts) else parts
        return tuple((int(first), int(second)) for first, second in parts)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{option}={given!r}: expected pairs of point numbers, such as '0-16,1-15'") from error


def _read_normalizer(given: Any, points: int) -> tuple[int, int]:
    pairs = _read_pairs(given, "normalizer")
    if len(pairs) != 1 or not all(0 <= index < points for index in pairs[0]):
        raise ConfigurationError(f"normalizer={given!r}: expected two points, numbered 0 to {points - 1}, such as '0-{points - 1}'")
    return pairs[0]


def _assemble(
    chosen: _Options, spec: str, name: str, sheets: Mapping[str, Sheet], scheme: Scheme, names: tuple[str, ...] = ()
) -> Landmarks:
    """A task of the rows that can be used.

    Raises:
        DataError: too many cannot be, or a split is empty.
    """
    broken = [reason for sheet in sheets.values() for reason in sheet.broken]
    found: list[tuple[str, Face, Box]] = []
    for split, sheet in sheets.items():
        for face in sheet.faces:
            reason, box = _box(face, scheme, chosen.common["crop"])
            if box is None:
                broken.append(f"{face.id}: {reason}")
            else:
                found.append((split, face, box))
    store = ImageStore([Crop(face.image, box) for _, face, box in found])
    broken += [f"{found[row][1].id}: {reason}" for row, reason in store.failures.items()]
    total = sum(len(sheet.faces) + len(sheet.broken) for sheet in sheets.values())
    limit = chosen.common["skip_limit"]
    if len(broken) > limit * total:
        raise DataError(
            f"{len(broken)} of {total} rows cannot be used; expected at most {limit:.0%}: correct or remove them, or raise skip_limit: "
            f"{shown(broken, 20)}"
        )
    notes = [f"{len(broken)} of {total} rows left out: {shown(broken, 50)}"] if broken else []
    rows = [row for row in range(len(found)) if row not in store.failures]
    split_of = _cut(np.array([found[row][0] for row in rows]), _image_names([found[row][1] for row in rows]), chosen, notes)
    points = torch.stack([found[row][2].inwards(found[row][1].points) for row in rows]) if rows else torch.empty(0, scheme.points, 2)
    notes += _outside_notes(points)
    splits: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        own = np.flatnonzero(split_of == split)
        if not len(own):
            raise DataError(f"given no usable row for {split}; expected at least one: add rows, or change the fractions that are cut")
        ids = [found[rows[i]][1].id for i in own]
        splits[split] = Split(store, [rows[i] for i in own], points[torch.from_numpy(own)], ids)
    settings: dict[str, Any] = {"sigma": scheme.sigma} | chosen.settings
    task = Landmarks(
        name=chosen.common["name"] or name,
        **splits,
        pairs=scheme.pairs,
        normalizer=scheme.normalizer,
        point_names=names,
        **settings,
        notes=tuple(notes),
        source={"spec": spec, **chosen.given},
    )
    return chosen.taken(task)


def _box(face: Face, scheme: Scheme, crop: float) -> tuple[str, Box | None]:
    """The crop of a face, or why it has none."""
    if not face.points.isfinite().any():
        return "no point is known", None
    box = Box.of_points(face.points, crop) if face.center is None or face.scale is None else Box.around(face.center, face.scale, crop)
    if not (np.isfinite([box.left, box.top, box.side]).all() and box.side >= 1):
        return f"a face of size zero (its box has a side of {box.side:g} pixels)", None
    if not float(normalizing_distance(face.points[None], scheme.normalizer)) > 0:
        return "the points by which its error is measured lie on each other or are unknown", None
    return "", box


def _image_names(faces: Sequence[Face]) -> list[str]:
    """The same for faces of one image, wherever the images lie: the cut follows from them."""
    folders = [str(face.image.parent) for face in faces if isinstance(face.image, Path)]
    top = os.path.commonpath(folders) if folders else ""
    return [os.path.relpath(face.image, top) if isinstance(face.image, Path) else face.id for face in faces]


def _cut(split_of: np.ndarray, images: Sequence[str], chosen: _Options, notes: list[str]) -> np.ndarray:
    """Each row's split, where those that no file is for are cut from the training rows; faces of one image stay together."""
    split_of = split_of.astype("<U5")
    for split, fraction in (("test", chosen.common["test_fraction"]), ("val", chosen.common["val_fraction"])):
        rows = np.flatnonzero(split_of == "train")
        if (split_of == split).any() or not len(rows):
            continue
        held = rows[held_out(np.zeros(len(rows), dtype=np.int64), [images[int(row)] for row in rows], fraction, chosen.common["seed"])]
        split_of[held] = split
        notes.append(f"{split} was cut from train: {len(held)} of {len(rows)} faces, seed {chosen.common['seed']}")
    return split_of


def _outside_notes(points: Tensor) -> list[str]:
    outside = ((points < 0) | (points > 1)).any(-1)
    if not outside.any():
        return []
    images = int(outside.any(1).sum())
    return [
        f"{counted(int(outside.sum()), 'point')} of {counted(images, 'face')} outside the crop: what is far outside teaches nothing, but "
        "counts in the error; a larger crop shows it"
    ]
