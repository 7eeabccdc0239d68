"""VTAB-1K: 800 training and 200 validation images of each of 19 data sets, and their full test sets.

Source: Zhai et al. (2019), "A Large-scale Study of Representation Learning with the Visual Task Adaptation Benchmark".
"""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from hubtune.errors import DataError, unknown_name
from hubtune.tasks import torchvision
from hubtune.tasks.checks import shown
from hubtune.tasks.columns import read_tables
from hubtune.tasks.parquet import files_in
from hubtune.tasks.reading import Reading, Rows, existing, split_in, split_named
from hubtune.tasks.vtab_files import SUFFIXES, SplitFiles
from hubtune.tasks.vtab_tasks import TASKS, Cut, VtabTask

FOLDER = "HUBTUNE_VTAB"
_OURS = {"train": "train", "validation": "val", "test": "test"}
_MARK = b"tfds"
_OTHER_LABELS = ("fine_label",)  # the Hugging Face hub's CIFAR-100 has two kinds
_MADE = "label by rule"


@dataclass(frozen=True)
class BlackAndWhite:
    """An encoded image whose pixels are 0 and 1, shown as 0 and 255; final."""

    encoded: bytes

    def load(self) -> Image.Image:
        with Image.open(io.BytesIO(self.encoded)) as image:
            grey = image.convert("L")
        darkest_to_lightest = grey.getextrema()
        return grey.point(lambda value: 255 * value) if darkest_to_lightest in ((0, 1), (1, 1)) else grey


def read(location: str) -> Reading:
    """Read a task of VTAB-1K.

    The data lie in FOLDER/NAME, in a folder of FOLDER called as the data set is in TensorFlow Datasets, or in FOLDER itself: parquet or
    arrow files of the whole original splits with the original features, in TensorFlow Datasets' order, whose first 800 rows the
    benchmark trains on; for some tasks torchvision's files as well, which hold the same images in another order. Nothing is downloaded.

    Args:
        location: "NAME", or "NAME@FOLDER"; without a folder the variable HUBTUNE_VTAB names it.

    Raises:
        DataError: the data are not there, or splits, classes or features are not those of the benchmark.
        UnknownNameError: no such task.
    """
    name, _, folder = location.partition("@")
    if name not in TASKS:
        raise unknown_name("task of VTAB-1K", name, TASKS)
    task = TASKS[name]
    places = _places(name, task, folder or os.environ.get(FOLDER, ""))
    for place in places:
        files = files_in(place, SUFFIXES)
        if files:
            return _checked(name, task, _from_tables(name, task, place, files))
    if task.torchvision is None:
        raise DataError(f"no parquet or arrow files in {shown(map(str, places))}; expected {_expected(name, task)}")
    return _checked(name, task, _from_torchvision(name, task, places))


def _expected(name: str, task: VtabTask) -> str:
    files = f"{task.dataset} of TensorFlow Datasets as parquet (train*.parquet and so on; docs/vtab.md has the export)"
    other = f", or the files of torchvision's {task.torchvision}" if task.torchvision else ""
    return f"{files}{other}: open vtab:{name}@FOLDER, or name the folder in {FOLDER}"


def _places(name: str, task: VtabTask, folder: str) -> list[Path]:
    """Where the data may lie, the likeliest first."""
    if not folder:
        raise DataError(f"vtab:{name} does not say where its data are; expected {_expected(name, task)}")
    root = existing(folder, _expected(name, task))
    if not root.is_dir():
        raise DataError(f"given the file {folder!r}; expected a folder with {_expected(name, task)}")
    inside = [root / name, root / task.dataset.partition(":")[0].partition("/")[0]]
    return [*(place for place in dict.fromkeys(inside) if place.is_dir()), root]


def _cuts(task: VtabTask) -> dict[str, Cut]:
    return {"train": task.train, "val": task.val, "test": task.test}


def _check_sizes(name: str, task: VtabTask, sizes: Mapping[str, int]) -> None:
    """See that the splits are whole: percentages of anything else would be other images."""
    wrong = [f"{split} has {sizes.get(split, 'no')} rows, not {size}" for split, size in task.sizes.items() if sizes.get(split) != size]
    if wrong:
        raise DataError(
            f"vtab:{name}: {'; '.join(wrong)}; expected the whole splits of {task.dataset}, out of which the benchmark takes its rows: "
            "export them anew"
        )


def _from_tables(name: str, task: VtabTask, folder: Path, files: Sequence[Path]) -> Reading:
    """The rows of files in TensorFlow Datasets' order."""
    parts: dict[str, list[Path]] = {}
    for file in files:
        split = split_in(file.stem) or split_named(file.parent.name)
        if split is None:
            raise DataError(f"vtab:{name}: {file.name} names no split; expected train*, validation* or test* in {folder}")
        parts.setdefault(split, []).append(file)
    found = {split: SplitFiles(parts[_OURS[split]]) for split in task.sizes if _OURS[split] in parts}
    _check_sizes(name, task, {split: files.num_rows for split, files in found.items()})
    tables = {split: found[cut.split].rows(cut.rows(found[cut.split].num_rows)) for split, cut in _cuts(task).items()}
    label = _label_column(name, task, tables["train"])
    if task.rule is not None:
        tables = {split: _labelled(name, task, table, label) for split, table in tables.items()}
    images = "image" if "image" in tables["train"].column_names else None
    column = label if task.rule is None else _MADE
    reading = read_tables(name, tables, folder=folder, image_column=images, label_column=column, group_column=None)
    if task.binary:
        splits = {split: replace(rows, images=list(_shown_in_full(rows.images))) for split, rows in reading.splits.items()}
        reading = replace(reading, splits=splits)
    mark = (found["train"].schema.metadata or {}).get(_MARK, b"").decode()
    return replace(reading, notes=[*reading.notes, *_order_notes(name, task, mark, reading.splits["train"].labels)])


def _label_column(name: str, task: VtabTask, table: pa.Table) -> str:
    for column in (task.label, *_OTHER_LABELS):
        if column in table.column_names:
            return column
    raise DataError(f"vtab:{name}: no column {task.label!r} among {', '.join(table.column_names)}; expected the features of {task.dataset}")


def _labelled(name: str, task: VtabTask, table: pa.Table, column: str) -> pa.Table:
    """The table with the class that the task's rule makes of each row."""
    assert task.rule is not None
    try:
        labels = [task.rule(value) for value in table[column].to_pylist()]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"vtab:{name}: the column {column!r} is not what {task.dataset} has ({type(error).__name__}: {error}); "
            "expected its features as they are: export them anew"
        ) from error
    return table.append_column(_MADE, pa.array(labels))


def _shown_in_full(images: Sequence[Any]) -> Iterator[Any]:
    return (BlackAndWhite(image) if isinstance(image, bytes) else image for image in images)


def _order_notes(name: str, task: VtabTask, mark: str, labels: Sequence[Any]) -> list[str]:
    """What is known of the order of the rows, out of which the benchmark takes the first.

    Args:
        mark: the data set that the files say they were exported from; empty where they say nothing.
    """
    if mark:
        if mark.partition(":")[0] != task.dataset.partition(":")[0]:
            raise DataError(f"vtab:{name}: the files were exported from {mark}; expected {task.dataset}")
        return []
    if list(labels) == sorted(labels):
        raise DataError(
            f"vtab:{name}: the first {len(labels)} training rows are sorted by class, so these are not the benchmark's; expected the "
            f"order of TensorFlow Datasets: export {task.dataset} from there"
        )
    return [
        "rows are taken in the order of the files, which do not say that they were exported from TensorFlow Datasets: only in its order "
        "are the 800 and 200 images those of the benchmark"
    ]


def _from_torchvision(name: str, task: VtabTask, places: Sequence[Path]) -> Reading:
    """The rows of torchvision's files: the benchmark's test images, and other 800 and 200 out of the same training images."""
    reading = _first_reading(name, task, places)
    _check_sizes(name, task, {split: len(reading.splits[own]) for split, own in _OURS.items() if own in reading.splits})
    splits = {}
    for split, cut in _cuts(task).items():
        rows = reading.splits[_OURS[cut.split]]
        order = list(range(len(rows))) if cut.count is None else _drawn(cut.split, len(rows))
        chosen = [order[place] for place in cut.rows(len(rows))]
        splits[split] = Rows(
            images=[rows.images[row] for row in chosen], labels=[rows.labels[row] for row in chosen], ids=[rows.ids[row] for row in chosen]
        )
    note = (
        f"read from torchvision's {task.torchvision}: the test images are the benchmark's, the 800 and 200 are others out of the same "
        "images, as their order in TensorFlow Datasets is not known there"
    )
    return replace(reading, name=name, splits=splits, notes=[*reading.notes, note])


def _first_reading(name: str, task: VtabTask, places: Sequence[Path]) -> Reading:
    reasons = []
    for place in places:
        try:
            return torchvision.read(str(task.torchvision), root=place, download=False)
        except DataError as error:
            reasons.append(str(error))
    raise DataError(f"vtab:{name} is not in {shown(map(str, places))} ({reasons[-1]}); expected {_expected(name, task)}")


def _drawn(split: str, size: int) -> list[int]:
    """Row numbers in an order that depends on nothing but them: the files themselves are sorted by class."""
    return sorted(range(size), key=lambda row: hashlib.sha256(f"{split} {row}".encode()).digest())


def _checked(name: str, task: VtabTask, reading: Reading) -> Reading:
    """The reading, if its classes are the benchmark's."""
    found = {label for rows in reading.splits.values() for label in rows.labels}
    numbered = all(isinstance(label, int) for label in found)
    if len(found) != task.classes or (numbered and found != set(range(task.classes))):
        strange = shown(map(str, sorted(found - set(range(task.classes)), key=str)))
        raise DataError(
            f"vtab:{name} has {len(found)} classes in the files{f' ({strange})' if numbered and strange else ''}; "
            f"expected {task.classes}{f', numbered from 0 to {task.classes - 1}' if numbered else ''}: export {task.dataset} anew"
        )
    if reading.class_names is not None and len(reading.class_names) != task.classes:
        raise DataError(f"vtab:{name} has {len(reading.class_names)} class names; expected {task.classes}: export {task.dataset} anew")
    return reading
