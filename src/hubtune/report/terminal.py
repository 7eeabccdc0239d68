"""What the terminal shows of a search and of a run."""

from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hubtune.report.comparison import difference, written
from hubtune.report.headline import interval
from hubtune.report.ranking import expected
from hubtune.report.record import Comparison, Record, Row, parse, parse_rows
from hubtune.report.section import METRICS, count, duration, metric, metric_phrase, percent, score, several

MOST_ROWS = 20


def search_table(rows: list[dict[str, Any]]) -> Table:
    """The models of a search with score, size and time; those that failed come last, their reasons being notes of the search.

    Raises:
        RunError: a row is not what it should be.
    """
    return _table(parse_rows(rows), set(), len(rows))


def comparison_table(record: dict[str, Any]) -> RenderableType:
    """The methods of a comparison with score, difference to the first, cost and training time; a failure comes with its reason.

    Raises:
        RunError: a part of the record is not what it should be.
    """
    parsed = parse(record)
    found = parsed.comparison or Comparison()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", overflow="fold")
    for name in (metric_phrase(found.metric), f"against {found.reference}", "FLOPs", "training"):
        table.add_column(name, justify="right", no_wrap=True)
    best = found.methods[0].label if found.methods else None
    for row in found.rows:
        name = Text(row.label, style="green" if row.label == best else "dim" if row.analysis else "")
        cost = (count(row.flops), duration(row.seconds))
        table.add_row(name, written(found, row), difference(found, row), *cost) if row.error is None else table.add_row(name, "failed")
    failed = [Text(f"{row.label}: {row.error}", style="red") for row in found.rows if row.error is not None]
    notes = [Text(f"note: {warning}", style="yellow") for warning in (*parsed.warnings, *parsed.task.notes)]
    return Group(table, *failed, *notes)


def summary(record: dict[str, Any], report: Path | None = None) -> RenderableType:
    """A run in the terminal: ranking, picks, what was chosen, its accuracy with interval, and where the report is.

    Raises:
        RunError: a part of the record is not what it should be.
    """
    parsed = parse(record)
    parts: list[RenderableType] = []
    if parsed.search and parsed.search.rows:
        parts.append(_table(list(parsed.search.rows), set(parsed.search.picks), MOST_ROWS))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in _lines(parsed, report):
        grid.add_row(Text(name), Text(value))
    for warning in (*parsed.warnings, *parsed.task.notes):
        grid.add_row(Text("note", style="yellow"), Text(warning))
    return Group(*parts, grid)


def _lines(record: Record, report: Path | None) -> list[tuple[str, str]]:
    lines = []
    if record.search and record.search.picks:
        lines.append(("picked", several(record.search.picks, 8)))
    if record.chosen:
        lines.append(("chosen", " on ".join(part for part in (record.chosen.method, several(record.chosen.models, 8)) if part)))
    accuracy, bounds = record.metrics.get("test_accuracy"), interval(record)
    if accuracy is not None:
        spread = f" (95% interval {percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""
        lines.append(("test accuracy", percent(accuracy) + spread))
    elif record.metrics:
        lines += [(METRICS[n], metric(n, record.metrics[n])) for n in METRICS if n.startswith("test_") and n in record.metrics]
    if record.seconds is not None:
        lines.append(("time", duration(record.seconds)))
    if report is not None:
        lines.append(("report", str(report)))
    return lines


def _table(rows: list[Row], picks: set[str], limit: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    predicted = any(row.predicted is not None for row in rows)
    columns = [("#", True), ("model", False), ("score", True), *([("predicted accuracy", True)] if predicted else [])]
    for name, right in (*columns, ("parameters", True), ("time", True), ("", False)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    ordered = sorted(rows, key=lambda row: row.place)
    table.columns[1].no_wrap, table.columns[1].min_width = True, max((cell_len(row.name) for row in ordered[:limit]), default=None)
    for place, row in enumerate(ordered[:limit], start=1):
        note = Text("picked" if row.name in picks else "", style="green")
        if row.error is not None:
            note = Text("no time left", style="yellow") if row.late else Text("failed", style="red")
        numbers = (score(row.score), *([expected(row)] if predicted else []), count(row.card.params), duration(row.seconds))
        table.add_row("" if row.score is None else str(row.rank or place), Text(row.name), *numbers, note)
    if len(ordered) > limit:
        table.add_row("", Text(f"and {len(ordered) - limit} more", style="dim"))
    return table
