"""One field of a method at several values: the score against the field, and against the cost that it leads to."""

from pathlib import Path
from typing import Any

from hubtune.report.comparison import written
from hubtune.report.record import Comparison, Contestant, Record
from hubtune.report.section import Section, chart, count, fill, is_share, label, metric_name, metric_phrase, plain


def sweeps(record: Record, folder: Path) -> Section | None:
    """A chart for each field that alone tells several rows of a comparison apart, such as top_k or cost_weight of hub-pathway."""
    if record.comparison is None:
        return None
    charts = []
    for number, (method, field, rows) in enumerate(_found(record.comparison)):
        title = f"{method}: {field}"
        views = [_view(field, field, rows, record.comparison), _view("FLOPs an image", None, rows, record.comparison)]
        about = f"{metric_name(record.comparison.metric)} of {title}"
        charts.append((title, chart(f"sweep-{number}", about, *(view for view in views if view), height=300)))
    return Section("sweeps", "Fields tried", fill("sweeps.html", charts=charts), charts=True) if charts else None


def _found(comparison: Comparison) -> list[tuple[str, str, list[Contestant]]]:
    """Method, field, and the rows that differ in this field alone, in its order."""
    groups: dict[tuple[str, str, str], dict[float, Contestant]] = {}
    for row in comparison.methods:
        for field in row.config:
            if (value := _number(row, field)) is not None:
                others = plain({name: other for name, other in sorted(row.config.items()) if name != field})
                groups.setdefault((row.method or "", field, others), {})[value] = row
    return [
        (method, field, [rows[value] for value in sorted(rows)]) for (method, field, _), rows in sorted(groups.items()) if len(rows) > 1
    ]


def _number(row: Contestant, field: str) -> float | None:
    """A field's value, also where it is a list of one; None where it is no number."""
    match row.config[field]:
        case bool():
            return None
        case int() | float() as value:
            return value
        case [int() | float() as value] if not isinstance(value, bool):
            return value
        case _:
            return None


def _view(title: str, field: str | None, rows: list[Contestant], comparison: Comparison) -> dict[str, Any] | None:
    """The score against a field, or against the cost where no field is named."""
    values = [_number(row, field) if field else row.flops for row in rows]
    points = sorted(((x, row) for x, row in zip(values, rows, strict=True) if x is not None), key=lambda point: point[0])
    if len(points) < len(rows):
        return None
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [x for x, _ in points],
        "y": [comparison.score(row) for _, row in points],
        "error_y": {
            "type": "data",
            "array": [row.spread.get(comparison.metric, 0.0) for _, row in points],
            "color": "var(--soft-mark)",
            "width": 3,
        },
        "line": {"color": "var(--accent)", "width": 2},
        "marker": {"size": 9, "color": "var(--accent)"},
        "customdata": [[label(row.label, 60), written(comparison, row), count(row.flops)] for _, row in points],
        "hovertemplate": "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]} FLOPs an image<extra></extra>",
    }
    axis: dict[str, Any] = {"title": {"text": label(title)}}
    if field is None:
        axis["tickformat"] = "~s"
    elif all(isinstance(x, int) for x, _ in points):
        axis["tickvals"] = [x for x, _ in points]
    share = {"tickformat": ".1%"} if is_share(comparison.metric) else {}
    layout = {"xaxis": axis, "yaxis": {"title": {"text": metric_phrase(comparison.metric)}, **share}, "hovermode": "closest"}
    return {"label": title, "data": [trace], "layout": layout}
