"""The table that a regret study reads: who was fine-tuned on what, how well, and what was known of the models beforehand.

One row a training: ``model``, ``task``, ``accuracy``, and where there were several trainings of a pair ``seed`` or ``repeat``. Further
columns are fields of the model's card (``params``, ``upstream_accuracy``, ...) or scores by which models can be ranked (``linear``,
``knn``, ...), higher is better. ``classes`` and ``images`` (how many to train on) describe the task.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from hubtune.errors import ConfigurationError, DataError, unknown_name
from hubtune.hub import ModelCard

KEYS = ("model", "task", "accuracy")
REPEATS = ("seed", "repeat")
OF_TASK = ("classes", "images")
_WHOLE = (*OF_TASK, "params", "flops", "input_size", "feature_dim", "num_classes", "upstream_images")
_CARD = tuple(field.name for field in fields(ModelCard) if field.name != "name")
# A hub would know these; a table of results need not.
_UNKNOWN = {"source": "table", "architecture": "unknown", "params": 0, "input_size": 1}
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class RegretTable:
    """Fine-tuned accuracies, scores and cards, checked."""

    name: str
    cards: tuple[ModelCard, ...]
    """In the order of the table. Fields that the table lacks hold placeholders: see ``fields``."""
    fields: tuple[str, ...]
    """The fields of a card that the table knows, ``name`` first."""
    accuracies: Mapping[str, Mapping[str, float]]
    """Task to model to fine-tuned test accuracy in [0, 1], the median over repeats; a pair that was not trained is absent."""
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Task to model to score name to score, the median over repeats; gaps are absent."""
    tasks: Mapping[str, Mapping[str, int]]
    """Task to its ``classes`` and training ``images``, as far as the table knows them."""
    score_names: tuple[str, ...]
    """Linear and nearest neighbours first, then as in the table."""
    repeats: int
    """The most trainings of one model on one task."""
    notes: tuple[str, ...]
    """What a reader of the study should know."""


def read_table(source: str | Path | Iterable[Mapping[str, Any]], scores: Sequence[str] | None = None) -> RegretTable:
    """Read and check a table of results.

    Accuracies and scores of one model on one task are the medians over its repeats. A cell without an accuracy was not trained.

    Args:
        source: a CSV or parquet file, or rows as mappings, such as a frame's ``to_dict("records")`` or an arrow table's ``to_pylist()``.
        scores: the columns to rank by; None takes every column of numbers that is nothing else.

    Raises:
        DataError: not such a table: missing columns, contradictory rows, impossible accuracies, a single model.
        UnknownNameError: no column of a name in ``scores``.
    """
    if isinstance(source, str | Path):
        name, rows, places = _read_file(Path(source).expanduser())
    else:
        name, rows = "rows", [dict(row) for row in source]
        places = [f"row {number}" for number in range(1, len(rows) + 1)]
    if not rows:
        raise DataError(f"the table {name} has no rows; expected one for each training, with the columns {', '.join(KEYS)}")
    return _Reader(name, rows, places, scores).table()


def column_names(path: Path) -> list[str]:
    """The columns of a CSV or parquet file.

    Raises:
        DataError: it cannot be read.
    """
    _, rows, _ = _read_file(path.expanduser())
    return list(rows[0]) if rows else []


def _read_file(path: Path) -> tuple[str, list[dict[str, Any]], list[str]]:
    if not path.is_file():
        raise DataError(f"given {str(path)!r}, where there is no file; expected a CSV or parquet table: check the path")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            rows = pq.read_table(path).to_pylist()
            return path.name, rows, [f"row {number}" for number in range(1, len(rows) + 1)]
        return path.name, *_read_csv(path)
    except (OSError, ValueError, csv.Error) as error:  # arrow's errors are among them
        raise DataError(f"the table {str(path)!r} cannot be read ({error}); expected a CSV file in UTF-8, or a parquet file") from error


def _read_csv(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
        names = [name.strip() for name in next(reader, [])]
        twice = sorted({name for name in names if names.count(name) > 1 and name})
        if twice:
            raise DataError(f"the table {path.name} has several columns called {', '.join(map(repr, twice))}; expected distinct names")
        rows, places = [], []
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(names):
                raise DataError(
                    f"line {reader.line_num} of {path.name} has {len(values)} values; expected {len(names)}, one for each column: "
                    "quote values that hold the separator"
                )
            rows.append(dict(zip(names, values, strict=True)))
            places.append(f"line {reader.line_num}")
        return rows, places


class _Reader:
    """Collects what is wrong with the rows, so that one message tells all of it."""

    def __init__(self, name: str, rows: list[dict[str, Any]], places: list[str], scores: Sequence[str] | None):
        self.name, self.rows, self.places = name, rows, places
        self.columns = list(dict.fromkeys(str(column) for row in rows for column in row))
        self.mistakes: list[str] = []
        self.notes: list[str] = []
        for key in KEYS:
            if key not in self.columns:
                raise DataError(f"the table {name} has no column {key!r}: {unknown_name('column', key, self.columns)}; rename or add it")
        self.score_names = self._scores(scores)

    def _scores(self, wanted: Sequence[str] | None) -> tuple[str, ...]:
        others = [column for column in self.columns if column not in (*KEYS, *REPEATS, *OF_TASK, *_CARD, "name")]
        for column in wanted or ():
            if column not in others:
                raise unknown_name("column of scores", column, others)
        if wanted is None:
            wanted = [column for column in others if column and not column.startswith(("_", "Unnamed:")) and self._can_rank(column)]
            left_out = [column for column in others if column not in wanted]
            if left_out:
                self.notes.append(f"columns that are no fields of a card and cannot rank models, not used: {', '.join(left_out)}")
        first = ("linear", "knn", "knn1", "knn3")
        return tuple(sorted(dict.fromkeys(wanted), key=lambda column: first.index(column) if column in first else len(first)))

    def _can_rank(self, column: str) -> bool:
        """Whether a column holds numbers that tell the models of some task apart."""
        by_task: dict[str, set[float]] = {}
        for row in self.rows:
            if _empty(value := row.get(column)):
                continue
            number = _number(value)
            if number is None:
                return False
            by_task.setdefault(_text(row.get("task")), set()).add(number)
        return any(len(values) > 1 for values in by_task.values())

    def table(self) -> RegretTable:
        """The table, or one error with every mistake."""
        accuracies, scores, repeats = self._cells()
        models = list(dict.fromkeys(_text(row.get("model")) for row in self.rows))
        cards, known = self._cards(models)
        tasks = self._tasks(list(accuracies))
        if self.mistakes:
            more = f"\n  and {len(self.mistakes) - _SHOWN} more" if len(self.mistakes) > _SHOWN else ""
            raise DataError(f"the table {self.name} cannot be used:\n  " + "\n  ".join(self.mistakes[:_SHOWN]) + more)
        if len(models) < 2:
            raise DataError(f"the table {self.name} has one model only, {models[0]!r}; expected at least two: there is nothing to choose")
        absent = [f"{model} on {task}" for task, row in accuracies.items() for model in models if model not in row]
        if absent:
            self.notes.append(
                f"{len(absent)} of {len(models) * len(accuracies)} cells have no accuracy; a model takes no part in a task it was not "
                f"fine-tuned on: {_several(absent)}"
            )
        return RegretTable(
            name=self.name,
            cards=cards,
            fields=("name", *known),
            accuracies=accuracies,
            scores=scores,
            tasks=tasks,
            score_names=self.score_names,
            repeats=repeats,
            notes=tuple(self.notes),
        )

    def _cells(self):
        """Medians of accuracies and scores by task and model, and the most repeats of a cell."""
        found: dict[str, dict[str, list[float]]] = {}
        scored: dict[str, dict[str, dict[str, list[float]]]] = {}
        first: dict[tuple[str, ...], int] = {}
        for number, row in enumerate(self.rows):
            place, model, task = self.places[number], _text(row.get("model")), _text(row.get("task"))
            if not model or not task:
                self.mistakes.append(f"{place}: model = {model!r}, task = {task!r}; expected a name each")
                continue
            key = (model, task, *(_text(row.get(column)) for column in REPEATS))
            if key in first:
                before = first[key]
                self.mistakes.append(
                    f"{self.places[before]} and {place} are both of model {model!r} on task {task!r}"
                    + "".join(f", {name} {value!r}" for name, value in zip(REPEATS, key[2:], strict=True) if value)
                    + f" (accuracy {self.rows[before].get('accuracy')} and {row.get('accuracy')}): remove one, or number repeats in a "
                    "column 'seed' or 'repeat'"
                )
                continue
            first[key] = number
            accuracy, trained = self._accuracy(row.get("accuracy"), place), found.setdefault(task, {})
            if accuracy is not None:
                trained.setdefault(model, []).append(accuracy)
            for column in self.score_names:
                value = self._score(row.get(column), column, place)
                if value is not None:
                    scored.setdefault(task, {}).setdefault(model, {}).setdefault(column, []).append(value)
        accuracies = {task: {model: median(values) for model, values in models.items()} for task, models in found.items()}
        scores = {
            task: {model: {column: median(values) for column, values in columns.items()} for model, columns in models.items()}
            for task, models in scored.items()
        }
        return accuracies, scores, max((len(values) for models in found.values() for values in models.values()), default=0)

    def _accuracy(self, value: Any, place: str) -> float | None:
        if _empty(value):
            return None
        number = _number(value)
        if number is None or math.isnan(number):
            self.mistakes.append(f"{place}: accuracy = {value!r}; expected a fraction from 0 to 1, or nothing where nothing was trained")
        elif not 0 <= number <= 1:
            hint = ": divide accuracies in per cent by 100" if 1 < number <= 100 else ""
            self.mistakes.append(f"{place}: accuracy = {value}; expected a fraction from 0 to 1{hint}")
        return number

    def _score(self, value: Any, column: str, place: str) -> float | None:
        """A score, or None for a gap; NaN and infinities are no scores either."""
        if _empty(value):
            return None
        number = _number(value)
        if number is None:
            self.mistakes.append(f"{place}: {column} = {value!r}; expected a number, or nothing where there is no score")
        return number if number is not None and math.isfinite(number) else None

    def _cards(self, models: list[str]) -> tuple[tuple[ModelCard, ...], list[str]]:
        known = [column for column in self.columns if column in _CARD]
        facts: dict[str, dict[str, Any]] = {model: {} for model in models}
        for row, place in zip(self.rows, self.places, strict=True):
            own = facts[_text(row.get("model"))]
            for field in known:
                value = self._fact(field, row.get(field), place)
                if value is None:
                    continue
                if own.setdefault(field, value) != value:
                    self.mistakes.append(
                        f"{place}: {field} = {value!r} of model {row['model']!r}, which has {own[field]!r} in an earlier row; "
                        "expected one value for each model"
                    )
        for field in known:
            lacking = [model for model in models if field not in facts[model]]
            if field in _UNKNOWN and lacking:
                self.mistakes.append(f"no {field} of {_several(lacking)}; expected it of every model: fill it in, or drop the column")
        if self.mistakes:
            return (), known
        try:
            return tuple(ModelCard(**{"name": model, **_UNKNOWN, **facts[model]}) for model in models), known
        except ConfigurationError as error:
            raise DataError(f"the table {self.name} cannot be used: {error}") from error

    def _tasks(self, tasks: list[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {task: {} for task in tasks}
        for row, place in zip(self.rows, self.places, strict=True):
            own = found.get(_text(row.get("task")), {})
            for column in OF_TASK:
                value = self._fact(column, row.get(column), place)
                if value is not None and own.setdefault(column, value) != value:
                    self.mistakes.append(
                        f"{place}: {column} = {value} of task {row['task']!r}, which has {own[column]} in an earlier row; "
                        "expected one value for each task"
                    )
        return found

    def _fact(self, field: str, value: Any, place: str) -> Any:
        if _empty(value) or value != value:  # frames mark what is unknown as NaN
            return None
        if field not in _WHOLE and field != "upstream_accuracy":
            return _text(value)
        number = _number(value)
        if number is None or not math.isfinite(number) or (field in _WHOLE and number != int(number)):
            self.mistakes.append(f"{place}: {field} = {value!r}; expected a {'whole ' if field in _WHOLE else ''}number")
            return None
        return int(number) if field in _WHOLE else number


def _several(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _empty(value: Any) -> bool:
    """Nothing at all. A NaN is not nothing: it was computed."""
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float | None:
    """A number, or text that is one; True and False are none."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
