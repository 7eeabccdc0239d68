"""Fine-tunings that are over: which model reached what accuracy on which task, beside what a search knew of it beforehand."""

import contextlib
import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubtune.errors import DataError, RunError, unknown_name
from hubtune.hub.card import FIELDS
from hubtune.proxies import PROXIES
from hubtune.runs import read_record, runs_folder

SHIPPED = Path(__file__).parent / "past_runs.csv"
"""Of the embedded hub on the embedded tasks; benchmarks/make_past_runs.py makes it."""
DIGITS = 16
"""Of a task's fingerprint, which is enough to know it again."""
_NEEDED = ("model", "task", "accuracy")


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One fine-tuning of one model on one task."""

    model: str
    task: str
    """Its name."""
    accuracy: float
    """On the test images, in [0, 1]."""
    seed: str = ""
    fingerprint: str | None = None
    """Of the task, its first 16 digits; None where it is known by its name alone."""
    classes: int | None = None
    images: int | None = None
    """For training."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By proxy, measured on all of the task's images."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the model's card, as far as they are known."""


@dataclass(frozen=True, kw_only=True)
class PastCell:
    """A model on a task: the median over seeds and repeats."""

    model: str
    task: str
    """Its fingerprint, or its name where it has none."""
    accuracy: float
    classes: int | None
    images: int | None
    scores: Mapping[str, float]
    card: Mapping[str, Any]


def past_runs(source: str | Path = "auto") -> list[PastRun]:
    """The runs to learn from.

    Args:
        source: "auto" for the runs under ``HUBTUNE_RUNS`` and those that ship with the package; "none"; or a CSV or parquet file.

    Raises:
        DataError: the file cannot be used.
    """
    if source == "none":
        return []
    if source == "auto":
        return recorded_runs(runs_folder()) + read_past_runs(SHIPPED)
    return read_past_runs(Path(source))


def cells(runs: Iterable[PastRun], *, without: Sequence[str] = ()) -> list[PastCell]:
    """One cell a model and task.

    Args:
        without: names and fingerprints of tasks to leave out.
    """
    grouped: dict[tuple[str, str], list[PastRun]] = {}
    for run in runs:
        if run.task not in without and (run.fingerprint or run.task) not in without:
            grouped.setdefault((run.fingerprint or run.task, run.model), []).append(run)
    return [
        PastCell(
            model=model,
            task=task,
            accuracy=statistics.median(run.accuracy for run in members),
            classes=next((run.classes for run in members if run.classes), None),
            images=next((run.images for run in members if run.images), None),
            scores={name: value for run in reversed(members) for name, value in run.scores.items()},
            card={name: value for run in reversed(members) for name, value in run.card.items()},
        )
        for (task, model), members in sorted(grouped.items())
    ]


def read_past_runs(path: Path) -> list[PastRun]:
    """A table with columns model, task and accuracy; seed, classes, images, fingerprint, proxies and card fields where there are such.

    A cell without a value is unknown; other columns are ignored.

    Raises:
        DataError: the file is missing, or cannot be such a table; all mistakes are named.
    """
    rows = _rows(path)
    missing = [name for name in _NEEDED if not rows or name not in rows[0]]
    if missing:
        given = ", ".join(rows[0]) if rows else "no rows"
        raise DataError(f"{path} has {given}; expected the columns {', '.join(_NEEDED)}, and proxies or card fields beside them")
    found, mistakes, seen = [], [], {}
    for number, row in enumerate(rows, start=2):
        accuracy = _number(row["accuracy"])
        if accuracy is None:
            continue
        key = (row["model"], row["task"], _text(row.get("seed")))
        if not 0 <= accuracy <= 1:
            mistakes.append(f"row {number}: accuracy {accuracy:g}, expected a fraction from 0 to 1 (75 % is 0.75)")
        elif key[2] and seen.setdefault(key, accuracy) != accuracy:
            mistakes.append(f"row {number}: {key[0]} on {key[1]} with seed {key[2]} is {accuracy:g}, and was {seen[key]:g} before")
        found.append(_past_run(row, accuracy))
    if mistakes:
        shown = "\n  ".join(mistakes[:8]) + (f"\n  and {len(mistakes) - 8} more" if len(mistakes) > 8 else "")
        raise DataError(f"{path} cannot be right:\n  {shown}")
    return found


def recorded_runs(folder: Path) -> list[PastRun]:
    """The fine-tunings of a folder of runs: of each model, task and seed the one with the best validation accuracy.

    Scores are those that searches of the same folder wrote down.
    """
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for record in _records(folder, "*/record.json"):
        task = str((record.get("task") or {}).get("fingerprint"))[:DIGITS]
        for row in (record.get("search") or {}).get("rows", ()):
            if row.get("share", 1.0) == 1.0:
                scores.setdefault((row["name"], task), {}).update(row.get("scores") or {})
    best: dict[tuple[str, str, int], dict[str, Any]] = {}
    for record in _records(folder, "cells/*/record.json"):
        accuracy, validation = (record.get("metrics", {}).get(name) for name in ("test_accuracy", "val_accuracy"))
        if record.get("method") == "fine-tune" and len(record["models"]) == 1 and accuracy is not None:
            key = (record["models"][0], record["task"]["fingerprint"][:DIGITS], record["seed"])
            if key not in best or (validation or 0.0) > (best[key]["metrics"].get("val_accuracy") or 0.0):
                best[key] = record
    return [
        PastRun(
            model=model,
            task=record["task"]["name"],
            accuracy=record["metrics"]["test_accuracy"],
            seed=str(seed),
            fingerprint=task,
            classes=record["task"].get("num_classes"),
            images=record["task"].get("sizes", {}).get("train"),
            scores=scores.get((model, task), {}),
            card=record["cards"][0],
        )
        for (model, task, seed), record in sorted(best.items(), key=lambda item: item[0])
    ]


def _records(folder: Path, pattern: str):
    """Those that can be read."""
    for path in sorted(folder.glob(pattern)):
        with contextlib.suppress(RunError):
            yield read_record(path.parent)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"there is no file {path}; expected a CSV or parquet table of past runs, 'auto' or 'none'")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return pyarrow.parquet.read_table(path).to_pylist()
        if path.suffix == ".csv":
            with open(path, newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); expected a CSV or parquet table of past runs") from error
    raise unknown_name("ending of a table", path.suffix, (".csv", ".parquet"))


def _past_run(row: Mapping[str, Any], accuracy: float) -> PastRun:
    classes, images = (_number(row.get(name)) for name in ("classes", "images"))
    scores = {name: score for name in PROXIES if (score := _number(row.get(name))) is not None}
    return PastRun(
        model=str(row["model"]),
        task=str(row["task"]),
        accuracy=accuracy,
        seed=_text(row.get("seed")),
        fingerprint=_text(row.get("fingerprint"))[:DIGITS] or None,
        classes=None if classes is None else int(classes),
        images=None if images is None else int(images),
        scores=scores,
        card={name: row[name] for name in FIELDS if row.get(name) not in (None, "")},
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
