"""From a specification to a task: find the source, inspect every image, cut what is missing, note what is odd."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hubtune.errors import ConfigurationError, DataError, unknown_name
from hubtune.tasks import parquet
from hubtune.tasks.checks import absent_class_notes, counted, depth_notes, duplicate_notes, shared_group_notes, shown, single_image_notes
from hubtune.tasks.classification import Classification
from hubtune.tasks.cutting import held_out, interleaved
from hubtune.tasks.kinds import OPENERS, opener_of
from hubtune.tasks.reading import Reading, found_at
from hubtune.tasks.sources import SOURCES
from hubtune.tasks.split import Split
from hubtune.tasks.store import ImageStore
from hubtune.tasks.task import Task

_SPLITS = ("train", "val", "test")
_EXPECTED = "a folder of images (a subfolder for each class), a folder of parquet files, a .parquet or .npz file, or one of " + ", ".join(
    f"{name}:..." for name in (*SOURCES, *(name for name in OPENERS if ":" not in name))
)


def open_task(spec: str | Path, **options: Any) -> Task:
    """Task.open, which documents the arguments."""
    if opener := opener_of(str(spec)):
        make, location = opener
        return make(location, **options)
    source, location = _locate(str(spec))
    if source in SOURCES:
        return _open_labelled(spec, source, location, **options)
    return _own_task(source, location, options)


def _open_labelled(
    spec: str | Path,
    source: str,
    location: str,
    *,
    name: str | None = None,
    seed: int = 0,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    skip_limit: float = 0.1,
    augmentation: str = "none",
    take: Mapping[str, int] | None = None,
    **own: Any,
) -> Classification:
    known = [parameter for parameter in inspect.signature(SOURCES[source]).parameters if parameter != "location"]
    common: dict[str, Any] = {"seed": seed, "val_fraction": val_fraction, "test_fraction": test_fraction, "skip_limit": skip_limit}
    problems = option_problems(**common, take=take)
    for key, value in own.items():
        if key not in known:
            problems.append(f"{key}={value!r}: the source {source!r} knows {', '.join(known) or 'no options of its own'}")
    if problems:
        raise ConfigurationError("these options of Task.open cannot work: " + "; ".join(problems))
    reading = SOURCES[source](location, **own)
    rows = _Assembly(reading, skip_limit)
    rows.cut(seed=seed, val_fraction=val_fraction, test_fraction=test_fraction)
    options = {
        **common,
        "augmentation": augmentation,
        **{key: value if value is None or isinstance(value, bool | int | float) else str(value) for key, value in own.items()},
    }
    path = found_at(spec)
    task = Classification(
        name=name or reading.name,
        **rows.splits(),
        class_names=rows.class_names,
        augmentation=augmentation,
        notes=rows.all_notes(),
        # A relative path would open something else from another folder.
        source={"spec": str(path.resolve() if path else spec), **({"name": name} if name else {}), **options},
    )
    return task.take(**take) if take else task


def _locate(spec: str) -> tuple[str, str]:
    """The source's name, or a module's, and what it should open."""
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in SOURCES:
        return prefix, rest
    path = found_at(spec)
    if path and path.is_dir():
        return ("parquet" if parquet.files_in(path) else "folder"), spec
    if path and path.is_file():
        kinds = {".parquet": "parquet", ".npz": "npz"}
        if path.suffix.lower() not in kinds:
            raise DataError(f"given the file {spec!r}; expected {_EXPECTED}: convert it to one of these")
        return kinds[path.suffix.lower()], spec
    # One letter is a Windows drive.
    if colon and len(prefix) > 1 and all(part.isidentifier() for part in prefix.split(".")):
        if "." not in prefix and importlib.util.find_spec(prefix) is None:
            raise unknown_name("source", prefix, SOURCES)
        return prefix, rest
    raise DataError(f"given {spec!r}, where there is nothing; expected {_EXPECTED}: check the path (relative to {Path.cwd()})")


def _own_task(module: str, attribute: str, options: Mapping[str, Any]) -> Task:
    try:
        maker = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"given '{module}:{attribute}', which cannot be imported ({error}); expected something that returns a Task"
        ) from error
    task = maker(**options)
    if not isinstance(task, Task):
        raise DataError(f"'{module}:{attribute}' returned a {type(task).__name__}; expected a Task")
    return task


def option_problems(*, seed: Any, skip_limit: Any, take: Any, **fractions: Any) -> list[str]:
    """What is wrong with options that every source cutting its splits knows."""
    problems = [
        f"{key}={value!r}: expected a fraction above 0 and below 1"
        for key, value in fractions.items()
        if not (isinstance(value, int | float | np.floating) and 0 < value < 1)
    ]
    if not (isinstance(skip_limit, int | float | np.floating) and 0 <= skip_limit < 1):
        problems.append(f"skip_limit={skip_limit!r}: expected a fraction, at least 0 and below 1")
    if not isinstance(seed, int) or seed < 0:
        problems.append(f"seed={seed!r}: expected a whole number, at least 0")
    if take is not None and not (isinstance(take, Mapping) and all(name in _SPLITS and _is_count(n) for name, n in take.items())):
        problems.append(f"take={take!r}: expected how many rows to keep of train, val and test, such as {{'train': 100}}")
    return problems


def _is_count(n: Any) -> bool:
    return n is None or (isinstance(n, int | np.integer) and int(n) >= 1)


class _Assembly:
    """All rows of a reading side by side, on their way into splits."""

    def __init__(self, reading: Reading, skip_limit: float):
        if not len(reading.splits["train"]):
            raise DataError(f"given no rows to train on in {reading.name}; expected images of at least two classes: add rows")
        parts = [(name, reading.splits[name]) for name in _SPLITS if name in reading.splits]
        self.reading = reading
        self.ids = [text for _, part in parts for text in part.ids]
        self.split_of = np.array([name for name, part in parts for _ in range(len(part))], dtype="<U5")
        self.groups = [group for _, part in parts for group in (part.groups or [None] * len(part))]
        self.class_names, self.labels = _classes(reading, [label for _, part in parts for label in part.labels], self.ids)
        self.store = ImageStore([image for _, part in parts for image in part.images])
        self.notes = list(reading.notes)
        self.readable = np.array([row not in self.store.failures for row in range(len(self.ids))], dtype=bool)
        self._check_unreadable(skip_limit)
        present = np.unique(self.labels[self.readable])
        if len(present) < 2:
            only = ", ".join(repr(self.class_names[label]) for label in present)
            raise DataError(
                f"given {int(self.readable.sum())} images of one class only, {only}; expected at least two classes: "
                "add images of another class, or check where the labels come from"
            )

    def _check_unreadable(self, skip_limit: float) -> None:
        failures = [f"{self.ids[row]} ({reason})" for row, reason in self.store.failures.items()]
        if not failures:
            return
        if len(failures) > skip_limit * len(self.ids):
            raise DataError(
                f"{len(failures)} of {len(self.ids)} images are unreadable; expected at most {skip_limit:.0%}: repair or remove them, "
                f"or raise skip_limit: {shown(failures, 20)}"
            )
        self.notes.append(f"{len(failures)} of {len(self.ids)} images left out, unreadable: {shown(failures, 50)}")

    def cut(self, *, seed: int, val_fraction: float, test_fraction: float) -> None:
        """Cut the splits that the source lacks from its training rows."""
        for split, fraction in (("test", test_fraction), ("val", val_fraction)):
            if (self.split_of == split).any():
                continue
            rows = np.flatnonzero(self.readable & (self.split_of == "train"))
            # Copies of one image stay together: apart, they would leak from one split into another.
            together = [self.groups[row] or f"image {self.store.keys[row]}" for row in rows]
            held = rows[held_out(self.labels[rows], together, fraction, seed)]
            if not len(held) or len(held) == len(rows):
                raise DataError(
                    f"given {len(rows)} training images and no {split} split; expected two images (and two groups) of some "
                    f"class for each split that is cut: add images, or a {split} split"
                )
            self.split_of[held] = split
            self.notes.append(f"{split} was cut from train: {len(held)} of {len(rows)} images, stratified, seed {seed}")

    def splits(self) -> dict[str, Split]:
        """Train, val and test by name."""
        made = {}
        for name in _SPLITS:
            rows = np.flatnonzero(self.readable & (self.split_of == name))
            if not len(rows):
                raise DataError(f"given no readable image in {name}; expected at least one: add images to it, or remove the {name} split")
            if not self.reading.ordered:
                rows = rows[interleaved(self.labels[rows], [self.store.keys[row] for row in rows])]
            made[name] = Split(self.store, rows, torch.from_numpy(self.labels[rows]), [self.ids[row] for row in rows])
        return made

    def all_notes(self) -> tuple[str, ...]:
        """The source's notes, then what the rows themselves show."""
        rows = np.flatnonzero(self.readable).tolist()
        labels, splits = [int(self.labels[row]) for row in rows], [str(self.split_of[row]) for row in rows]
        targets = {name: torch.from_numpy(self.labels[self.readable & (self.split_of == name)]) for name in _SPLITS}
        return (
            *self.notes,
            *depth_notes(list(self.store.highest.values())),
            *single_image_notes(labels, self.class_names),
            *absent_class_notes(targets, self.class_names),
            *duplicate_notes([self.store.keys[row] for row in rows], labels, splits, [self.ids[row] for row in rows], self.class_names),
            *shared_group_notes([self.groups[row] for row in rows], splits),
        )


def _classes(reading: Reading, labels: Sequence[Any], ids: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names, and each row's class as an index into them."""
    missing = [ids[row] for row, label in enumerate(labels) if label is None]
    if missing:
        raise DataError(f"{counted(len(missing), 'image')} without a label; expected one each: label or remove them: {shown(missing)}")
    kinds = {type(label) for label in labels}
    if reading.class_names is not None:
        names = tuple(reading.class_names)
        if not kinds <= {int, bool}:
            raise DataError(
                f"given class names ({shown(map(str, names))}) and labels of type {_listed(kinds)}; expected the classes' numbers, 0 to "
                f"{len(names) - 1} (int): convert the labels"
            )
        wrong = [f"{ids[row]} ({label})" for row, label in enumerate(labels) if not 0 <= label < len(names)]
        if wrong:
            raise DataError(
                f"{counted(len(wrong), 'label')} out of range; expected 0 to {len(names) - 1}, as there are {len(names)} class names "
                f"(-1 often marks unlabelled images): correct or remove them: {shown(wrong)}"
            )
        return names, np.array(labels, dtype=np.int64)
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        raise DataError(f"given labels of type {_listed(kinds)}; expected names (text) or numbers (int): convert the labels")
    values = sorted(set(labels))
    if isinstance(values[0], int) and values[0] < 0 and values != [-1, 1]:
        wrong = [f"{ids[row]} ({label})" for row, label in enumerate(labels) if label < 0]
        raise DataError(
            f"{counted(len(wrong), 'label')} below 0, which often marks unlabelled images; expected class numbers from 0 on: "
            f"correct or remove them: {shown(wrong)}"
        )
    index = {value: i for i, value in enumerate(values)}
    return tuple(str(value) for value in values), np.array([index[label] for label in labels], dtype=np.int64)


def _listed(kinds: Iterable[type]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))
