"""What was trained, and how it went."""

from pathlib import Path
from typing import Any

from hubtune.report.record import Record
from hubtune.report.section import Section, cell_name, chart, differing, fill, is_share, label, metric_name

POINTS = 300  # of a curve: more than a screen can show makes the page large, not better
FIRST, LAST = ("train_loss", "val_accuracy", "val_nme", "val_loss"), "learning_rate"
LEFT_OUT = {"step", "progress", "val_balanced_accuracy", "val_macro_f1", "val_closeness"}  # the last three look like another
MOST_SERIES = 6
MOST_OTHERS = 40


def cells(record: Record, folder: Path) -> Section | None:
    """A table of the trainings of this run, where there was more than one."""
    if len(record.cells) < 2:
        return None
    keys = differing(record.cells)
    metrics = [
        name
        for name in ("val_accuracy", "test_accuracy", "val_nme", "test_nme", "test_score")
        if any(name in cell.metrics for cell in record.cells)
    ]
    ordered = sorted(record.cells, key=lambda cell: (not cell.chosen, -cell.metrics.get(f"val_{record.task.metric}", 0)))
    return Section("trainings", "Trainings", fill("cells.html", cells=ordered, keys=keys, metrics=metrics))


def curves(record: Record, folder: Path) -> Section | None:
    """Learning curves: the chosen training in front, its siblings behind it."""
    names = {cell.id: cell_name(cell, differing(record.cells)) for cell in record.cells if cell.id}
    chosen = next((cell.id for cell in record.cells if cell.chosen), None)
    history = record.history or record.histories.get(chosen or "", [])
    others = [(names.get(key, key), rows) for key, rows in record.histories.items() if key != chosen and rows][:MOST_OTHERS]
    keys = _series(history or [row for _, rows in others for row in rows])
    drawn = [(key, view) for key in keys if (view := _view(key, history, others))]
    if not drawn:
        return None
    charts = []
    for place, (key, view) in enumerate(drawn):
        title = metric_name(key)
        charts.append((title, chart(f"curve-{place}", f"{title} by step", view, height=260)))
    return Section("curves", "Learning curves", fill("curves.html", charts=charts, others=len(others)), charts=True)


def _series(rows: list[dict[str, Any]]) -> list[str]:
    """What can be drawn: loss and accuracy first, then what the method itself watched, then the learning rate."""
    found = {key for row in rows for key, value in row.items() if _number(value)} - LEFT_OUT
    return [key for key in [*FIRST, *sorted(found - {*FIRST, LAST}), LAST] if key in found][:MOST_SERIES]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _view(key: str, history: list[dict[str, Any]], others: list[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any] | None:
    traces = [_trace(key, rows, name, {"color": "var(--soft-mark)", "width": 1.25}) for name, rows in others]
    traces.append(_trace(key, history, "chosen", {"color": "var(--accent)", "width": 2.5}))
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return None
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "step"}}, "yaxis": {}, "hovermode": "closest"}
    if is_share(key):
        layout["yaxis"] = {"tickformat": "~%"}
    return {"data": traces, "layout": layout}


def _trace(key: str, rows: list[dict[str, Any]], name: str, line: dict[str, Any]) -> dict[str, Any]:
    points = [(row.get("step", place), row[key]) for place, row in enumerate(rows) if _number(row.get(key)) and _number(row.get("step", 0))]
    stride = -(-len(points) // POINTS) or 1
    points = points[:-1:stride] + points[-1:]
    value = "%{y:.1%}" if is_share(key) else "%{y:.4g}"
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) < 15 else "lines",
        "name": label(name, 60),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": line,
        "marker": {"size": 5},
        # In the trace's own data, since plotly shortens its name in hovers.
        "customdata": [label(name, 80)] * len(points),
        "hovertemplate": f"%{{customdata}}<br>step %{{x}}: {value}<extra></extra>",
    }
