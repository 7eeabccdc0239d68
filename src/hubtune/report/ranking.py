"""How the search ranked the hub: a chart of score against size and cost, the table, and the models that failed."""

import math
from pathlib import Path
from typing import Any

from hubtune.report.record import Record, Row
from hubtune.report.section import Section, chart, count, duration, fill, label, percent, score

COSTS = {
    "Parameters": ("parameters", "~s", lambda row: row.card.params),
    "FLOPs": ("FLOPs an image", "~s", lambda row: row.card.flops),
    "Search time": ("seconds to score", "~g", lambda row: row.seconds),
}
HOVER = (
    "<b>%{customdata[0]}</b><br>score %{customdata[1]}<br>%{customdata[2]} parameters, %{customdata[3]} FLOPs<br>"
    "scored in %{customdata[4]}<br>architecture: %{customdata[5]}<br>pre-trained on: %{customdata[6]}<br>paradigm: %{customdata[7]}<br>"
    "upstream accuracy: %{customdata[8]}<br>licence: %{customdata[9]}<extra></extra>"
)


def expected(row: Row) -> str:
    """The predicted accuracy of a model's fine-tuning, with its interval."""
    if row.predicted is None or row.low is None or row.high is None:
        return percent(row.predicted)
    return f"{percent(row.predicted, 0)} ({100 * row.low:.0f} to {100 * row.high:.0f})"


def ranking(record: Record, folder: Path) -> Section | None:
    """The search, where there was one."""
    search = record.search
    if search is None or not search.rows:
        return None
    order = {name: place for place, name in enumerate(search.picks)}
    scored = sorted((row for row in search.rows if row.error is None), key=lambda row: row.place)
    failed = [row for row in search.rows if row.error is not None]
    views = [view for name in COSTS if (view := _view(name, scored, order))]
    proxies = sorted({name for row in scored for name in row.scores})
    # One proxy alone is the score itself.
    proxies = proxies if len(proxies) > 1 else []
    body = fill(
        "ranking.html",
        search=search,
        scored=scored,
        failed=failed,
        picks=order,
        chosen=set(record.chosen.models) if record.chosen else set(),
        proxies=proxies,
        predicted={row.name: expected(row) for row in scored if row.predicted is not None},
        chart=chart("ranking-chart", "Score of every model against its size and cost", *views, height=400) if views else None,
    )
    return Section("ranking", "Ranking", body, charts=bool(views))


def _view(name: str, rows: list[Row], picks: dict[str, int]) -> dict[str, Any] | None:
    """One chart: a point for each model whose score and cost are both known."""
    axis, written, cost = COSTS[name]
    # The axis is logarithmic: a cost of zero has no place on it.
    points = [(row, x) for row in rows if row.score is not None and (x := cost(row)) is not None and x > 0]
    if not points:
        return None
    others = _trace("not picked", [(row, x) for row, x in points if row.name not in picks])
    others["marker"] = {"color": "var(--soft-mark)", "size": 9, "line": {"color": "var(--mark-edge)", "width": 1}}
    picked = _trace("picked", [(row, x) for row, x in points if row.name in picks])
    picked |= {
        "mode": "markers+text",
        "marker": {"color": "var(--accent)", "size": 20, "line": {"color": "var(--card)", "width": 1.5}},
        "text": [str(picks[row.name] + 1) for row, _ in points if row.name in picks],
        "textfont": {"color": "var(--on-accent)", "size": 12},
        "cliponaxis": False,
    }
    decades = math.log10(max(x for _, x in points) / min(x for _, x in points))
    ticks = {} if decades < 0.5 else {"dtick": "D2" if decades < 3 else 1}
    layout = {
        "xaxis": {"title": {"text": axis}, "type": "log", "tickformat": written, **ticks},
        "yaxis": {"title": {"text": "score (higher is better)"}},
        "hovermode": "closest",
    }
    return {"label": name, "data": [trace for trace in (others, picked) if trace["x"]], "layout": layout}


def _trace(name: str, points: list[tuple[Row, float]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x for _, x in points],
        "y": [row.score for row, _ in points],
        "customdata": [_card(row) for row, _ in points],
        "hovertemplate": HOVER,
    }


def _card(row: Row) -> list[str]:
    card, unknown = row.card, "unknown"
    upstream = None if card.upstream_accuracy is None else f"{percent(card.upstream_accuracy)} on {card.upstream_dataset or unknown}"
    numbers = [score(row.score), count(card.params), count(card.flops), duration(row.seconds)]
    words = [card.architecture, card.pretraining, card.paradigm, upstream, card.license]
    return [label(row.name, 60), *numbers, *(label(word or unknown, 60) for word in words)]
