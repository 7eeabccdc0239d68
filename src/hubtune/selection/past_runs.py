"""Fine-tunings that are over: which model reached what accuracy on which task, beside what a search knew of it beforehand."""

import contextlib
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubtune.errors import RunError
from hubtune.proxies import PROXIES
from hubtune.runs import read_record, runs_folder
from hubtune.selection.regret_table import RegretTable, column_names, read_table

SHIPPED = Path(__file__).parent / "past_runs.csv"
"""Of the embedded hub on the embedded tasks; benchmarks/make_past_runs.py makes it."""


FEWEST_STEPS = 50
"""Of a fine-tuning that says what a model is worth; shorter ones are trials."""


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One fine-tuning of one model on one task."""

    model: str
    task: str
    """Its name."""
    accuracy: float
    """On the test images, in [0, 1]."""
    images: str = ""
    """Fingerprint of the task, where it is known: tasks of one name may hold different images."""
    classes: int | None = None
    train: int | None = None
    """Training images."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By proxy, measured on all of the task's images."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the model's card, as far as they are known."""


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


def cells(runs: Iterable[PastRun], *, without: str | None = None, images: str | None = None) -> list[PastRun]:
    """One run a model and task: the median accuracy over repeats, with the scores of all of them.

    Args:
        without: the name of a task to leave out.
        images: its fingerprint, by which it is left out under any name.
    """
    grouped: dict[tuple[str, str, str], list[PastRun]] = {}
    for run in runs:
        if run.task != without and (not run.images or run.images != images):
            grouped.setdefault((run.task, run.images, run.model), []).append(run)
    return [
        PastRun(
            model=model,
            task=task,
            images=images,
            accuracy=statistics.median(run.accuracy for run in repeats),
            classes=next((run.classes for run in repeats if run.classes), None),
            train=next((run.train for run in repeats if run.train), None),
            scores={name: value for run in reversed(repeats) for name, value in run.scores.items()},
            card={name: value for run in reversed(repeats) for name, value in run.card.items()},
        )
        for (task, images, model), repeats in sorted(grouped.items())
    ]


def read_past_runs(path: Path) -> list[PastRun]:
    """The runs of a table: see `hubtune.selection.regret_table`; columns that are neither facts nor proxies are not looked at.

    Raises:
        DataError: the file is missing, or cannot be such a table; all mistakes are named.
    """
    return runs_of(read_table(path, [name for name in column_names(path) if name in PROXIES]))


def runs_of(table: RegretTable) -> list[PastRun]:
    """The trainings of a table, one a model and task."""
    cards = {card.name: {name: getattr(card, name) for name in table.fields} for card in table.cards}
    return [
        PastRun(
            model=model,
            task=task,
            accuracy=accuracy,
            classes=table.tasks[task].get("classes"),
            train=table.tasks[task].get("images"),
            scores={name: score for name, score in table.scores.get(task, {}).get(model, {}).items() if name in PROXIES},
            card=cards[model],
        )
        for task, accuracies in table.accuracies.items()
        for model, accuracy in accuracies.items()
    ]


def recorded_runs(folder: Path) -> list[PastRun]:
    """The fine-tunings of a folder of runs: of each model, task and seed the one with the best validation accuracy.

    Those of fewer than ``FEWEST_STEPS`` steps are left out. Scores are those that searches of the same folder wrote down.
    """
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for record in _records(folder, "[!.]*/record.json"):
        task = (record.get("task") or {}).get("fingerprint", "")
        for row in (record.get("search") or {}).get("rows", ()):
            if row.get("share", 1.0) == 1.0:
                scores.setdefault((row["name"], task), {}).update(row.get("scores") or {})
    best: dict[tuple[str, str, int], dict[str, Any]] = {}
    for record in _records(folder, "cells/[!.]*/record.json"):
        metrics = record.get("metrics", {})
        if record.get("method") == "fine-tune" and len(record["models"]) == 1 and "test_accuracy" in metrics and not _is_trial(record):
            key = (record["models"][0], record["task"]["fingerprint"], record["seed"])
            if key not in best or metrics["val_accuracy"] > best[key]["metrics"]["val_accuracy"]:
                best[key] = record
    return [
        PastRun(
            model=model,
            task=record["task"]["name"],
            images=task,
            accuracy=record["metrics"]["test_accuracy"],
            classes=record["task"].get("num_classes"),
            train=record["task"].get("sizes", {}).get("train"),
            scores=scores.get((model, task), {}),
            card=record["cards"][0],
        )
        for (model, task, _), record in sorted(best.items(), key=lambda item: item[0])
    ]


def _records(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """Those that can be read."""
    for path in sorted(folder.glob(pattern)):
        with contextlib.suppress(RunError):
            yield read_record(path.parent)


def _is_trial(record: dict[str, Any]) -> bool:
    history = record.get("history") or [{}]
    return history[-1].get("step", FEWEST_STEPS) < FEWEST_STEPS
