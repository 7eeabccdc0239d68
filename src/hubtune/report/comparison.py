"""Methods side by side: accuracy against cost as a Pareto chart, and the table with differences to the first method."""

import math
from pathlib import Path
from typing import Any

from hubtune.report.labels import place
from hubtune.report.record import Comparison, Contestant, Record
from hubtune.report.section import Section, chart, count, duration, fill, is_share, label, metric, metric_phrase, score

HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]} FLOPs an image<br>trained in %{customdata[3]}<extra></extra>"


def comparison(record: Record, folder: Path) -> Section | None:
    """The methods of a comparison, where the run is one."""
    found = record.comparison
    if found is None or not found.rows:
        return None
    drawn = [row for row in found.rows if found.score(row) is not None and (row.flops or 0) > 0]
    # Two rows of one height and one cost are one point; the method's own name says more than the analysis's.
    distinct = {(row.flops, found.score(row)): row for row in sorted(drawn, key=lambda row: not row.analysis)}
    points = sorted(distinct.values(), key=lambda row: -(found.score(row) or 0))
    best = found.methods[0].label if found.methods else None
    body = fill(
        "comparison.html",
        found=found,
        best=best,
        front={row.label for row in pareto(points, found)},
        chart=chart("pareto-chart", "Score of every method against its cost for one image", _figure(points, found), height=440)
        if points
        else None,
        written=lambda row: written(found, row),
        difference=lambda row: difference(found, row),
    )
    return Section("comparison", "Comparison", body, charts=bool(points))


def pareto(rows: list[Contestant], found: Comparison) -> list[Contestant]:
    """The methods than which no other is both cheaper and better, cheapest first; analyses know too much to be among them."""
    known = (row for row in rows if row.flops and found.score(row) is not None and not row.analysis)
    methods = sorted(known, key=lambda row: (row.flops or 0, -(found.score(row) or 0)))
    front: list[Contestant] = []
    for row in methods:
        if not front or (found.score(row) or 0) > (found.score(front[-1]) or 0):
            front.append(row)
    return front


def written(found: Comparison, row: Contestant) -> str:
    """A row's score with its spread over the seeds."""
    value = found.score(row)
    if value is None:
        return score(None)
    spread = row.spread.get(found.metric)
    around = "" if spread is None else f" ± {100 * spread:.1f}" if is_share(found.metric) else f" ± {score(spread)}"
    return metric(found.metric, value) + around


def difference(found: Comparison, row: Contestant) -> str:
    """A row's difference to the reference, with its interval: points where the metric is a share."""
    if row.difference is None:
        return score(None)

    def one(value: float) -> str:
        return f"{100 * value:+.1f}" if is_share(found.metric) else f"{value:+.3g}"

    low, high = row.difference.low, row.difference.high
    return one(row.difference.mean) + ("" if low is None or high is None else f" ({one(low)} to {one(high)})")


def _figure(points: list[Contestant], found: Comparison) -> dict[str, Any]:
    share = is_share(found.metric)
    values = [found.score(row) or 0.0 for row in points]
    spreads = [row.spread.get(found.metric, 0.0) for row in points]
    low = min(value - spread for value, spread in zip(values, spreads, strict=True))
    high = max(value + spread for value, spread in zip(values, spreads, strict=True))
    air = 0.12 * (high - low) or 0.02
    y_range = (low - air, high + air)
    logs = [math.log10(row.flops or 1) for row in points]
    reach = max(0.1, 0.08 * (max(logs) - min(logs)))
    x_range = (min(logs) - reach, max(logs) + 2.5 * reach)
    front = pareto(points, found)
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": [row.flops for row in front],
        "y": [found.score(row) for row in front],
        "line": {"color": "var(--accent)", "width": 2, "dash": "dot"},
        "hoverinfo": "skip",
    }
    named = [(x, y, label(row.label, 32)) for x, y, row in zip(logs, values, points, strict=True)]
    corners = [(math.log10(row.flops or 1), found.score(row) or 0.0) for row in front]
    names = place(named, spreads, corners, x_range, y_range)
    layout = {
        "xaxis": {"title": {"text": "FLOPs an image"}, "type": "log", "range": x_range, "tickformat": "~s", "dtick": "D2"},
        "yaxis": {"title": {"text": metric_phrase(found.metric)}, "range": y_range, **({"tickformat": "~%"} if share else {})},
        "hovermode": "closest",
        "annotations": names,
    }
    traces = [_trace([row for row in points if row.analysis is analysis], found, analysis) for analysis in (False, True)]
    return {"data": [trace for trace in (line, *traces) if trace["x"]], "layout": layout}


def _trace(rows: list[Contestant], found: Comparison, analysis: bool) -> dict[str, Any]:
    fill_color, edge = ("var(--card)", "var(--mark-edge)") if analysis else ("var(--accent)", "var(--card)")
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [row.flops for row in rows],
        "y": [found.score(row) for row in rows],
        "error_y": {"type": "data", "array": [row.spread.get(found.metric, 0.0) for row in rows], "color": "var(--soft-mark)", "width": 3},
        "marker": {"color": fill_color, "size": 11, "line": {"color": edge, "width": 1.5}},
        "customdata": [[label(row.label, 60), written(found, row), count(row.flops), duration(row.seconds)] for row in rows],
        "hovertemplate": HOVER,
    }
