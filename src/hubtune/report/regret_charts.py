"""The figures of a regret study, each with a view for every task-aware proxy.

Source: Renggli et al. (2021), Figures 3 to 7 and section 5.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from markupsafe import Markup

from hubtune.report.section import chart, label

AGNOSTIC, ORACLE, HELD_OUT, RANDOM = "task-agnostic", "oracle", "oracle-held-out", "random"
META = "meta-learned"
STROKES = {
    "proxy": ("var(--accent)", "solid"),
    "hybrid": ("var(--wrong)", "solid"),
    AGNOSTIC: ("var(--text)", "solid"),
    META: ("var(--accent)", "dash"),
    ORACLE: ("var(--text)", "dot"),
    HELD_OUT: ("var(--text)", "dash"),
    RANDOM: ("var(--soft-mark)", "solid"),
}
NAMES = {"absolute": "Absolute regret", "relative": "Relative regret", "log_odds": "Regret in log-odds"}


@dataclass(frozen=True)
class Figures:
    """The figures of one pool."""

    proxies: list[str]
    """To choose from, where there are any."""
    keys: list[str]
    """Ids of all charts, which the choice serves together."""
    by_budget: list[tuple[str, Markup]]
    by_task: list[tuple[str, Markup]]
    pairs: list[tuple[str, Markup]]
    by_dimension: tuple[str, Markup] | None
    """None where the numbers of features are not known, or do not differ."""
    strokes: list[tuple[str, str, str]]
    """Name, colour and CSS style of each kind of line."""


def charts_of(study: dict[str, Any], pool: dict[str, Any], key: str, measure: str) -> Figures:
    """All figures of a pool.

    Args:
        study: what ``RegretStudy.to_dict`` returned.
        pool: one of its pools.
        key: start of the charts' ids.
        measure: the one that is drawn by task and by pair.
    """
    drawer = _Drawer(study, pool, key, measure)
    by_budget = [drawer.by_budget(each) for each in ("absolute", measure)] + [drawer.by_budget("optimal")]
    by_task = [drawer.by_task(role) for role in (AGNOSTIC, "proxy", "hybrid")]
    budget = min(2, pool["budget"])
    pairs = [
        drawer.pair(AGNOSTIC, "proxy", 1),
        drawer.pair("hybrid", "proxy", budget) if budget > 1 else None,
        drawer.pair("first", "proxy", 1),
    ]
    by_dimension = drawer.by_dimension()
    shown = {role for role in STROKES for proxy in drawer.proxies or [""] if drawer.name(role, proxy) in drawer.known}
    words = {"proxy": "task-aware", "hybrid": "hybrid", ORACLE: "task-agnostic oracle", HELD_OUT: "oracle that has not seen the task"}
    css = {"solid": "solid", "dot": "dotted", "dash": "dashed"}
    return Figures(
        proxies=drawer.proxies,
        keys=drawer.keys,
        by_budget=[found for found in by_budget if found],
        by_task=[found for found in by_task if found],
        pairs=[found for found in pairs if found],
        by_dimension=by_dimension,
        strokes=[(words.get(role, role), colour, css[dash]) for role, (colour, dash) in STROKES.items() if role in shown],
    )


class _Drawer:
    def __init__(self, study: dict[str, Any], pool: dict[str, Any], key: str, measure: str):
        self.key, self.measure, self.budget = key, measure, pool["budget"]
        self.means = [row for row in study["means"] if row["pool"] == pool["name"]]
        self.rows = {(r["task"], r["strategy"], r["budget"]): r for r in study["rows"] if r["pool"] == pool["name"]}
        self.deltas = [row for row in study["deltas"] if row["pool"] == pool["name"]]
        self.dimensions = [row for row in study["dimensions"] if row["pool"] == pool["name"]]
        self.tasks = [entry["task"] for entry in pool["tasks"]]
        self.known = {row["strategy"] for row in self.means}
        self.proxies = [score for score in study["scores"] if score in self.known]
        self.keys: list[str] = []

    def name(self, role: str, proxy: str) -> str:
        """The strategy that plays a part beside a proxy."""
        parts = {"proxy": proxy, "hybrid": f"hybrid-{proxy}", "first": self.proxies[0] if self.proxies else ""}
        return parts.get(role, role)

    def by_budget(self, measure: str) -> tuple[str, Markup] | None:
        """Means over the tasks against the budget; of ``optimal``, Figure 7."""
        views = []
        for proxy in self.proxies or [""]:
            traces = []
            for role, (colour, dash) in STROKES.items():
                strategy = self.name(role, proxy)
                points = [(row["budget"], row[measure], row["tasks"]) for row in self.means if row["strategy"] == strategy]
                if points:
                    traces.append(
                        {
                            "type": "scatter",
                            "mode": "lines+markers",
                            "name": label(strategy),
                            "x": [x for x, _, _ in points],
                            "y": [y for _, y, _ in points],
                            "line": {"color": colour, "dash": dash, "width": 2.5},
                            "marker": {"color": colour, "size": 6},
                            "customdata": [[label(strategy), tasks] for _, _, tasks in points],
                            "hovertemplate": "<b>%{customdata[0]}</b><br>B = %{x}: "
                            + _written("y", measure)
                            + " over %{customdata[1]} tasks<extra></extra>",
                        }
                    )
            layout = {
                "xaxis": {"title": {"text": "models fine-tuned, B"}, "dtick": 1},
                "yaxis": {"rangemode": "tozero", **_ticks(measure)},
                "hovermode": "closest",
            }
            views.append({"data": traces, "layout": layout})
        title = "Optimal picks" if measure == "optimal" else NAMES[measure]
        return self._chart(title, f"{title} against the number of models fine-tuned", views, 300)

    def by_task(self, role: str) -> tuple[str, Markup] | None:
        """Regret of one strategy on each task, with one fine-tuning (pale) and with two: Figures 3 and 4."""
        views = []
        axis = {"range": [0, self._worst()], **_ticks(self.measure)}
        for proxy in self.proxies or [""]:
            strategy = self.name(role, proxy)
            traces = []
            for budget, colour in ((1, "var(--soft-mark)"), (2, "var(--accent)")):
                rows = [row for task in self.tasks if (row := self.rows.get((task, strategy, budget)))]
                if rows:
                    traces.append(
                        {
                            "type": "bar",
                            "orientation": "h",
                            "name": f"B = {budget}",
                            "y": [label(row["task"], 22) for row in rows],
                            "x": [row[self.measure] for row in rows],
                            "width": 0.75 if budget == 1 else 0.4,
                            "marker": {"color": colour},
                            "customdata": [[label(", ".join(row["picks"]), 80), row["accuracy"], row["absolute"]] for row in rows],
                            "hovertemplate": f"<b>%{{y}}</b>, B = {budget}: {_written('x', self.measure)}<br>picks: %{{customdata[0]}}<br>"
                            "best of them %{customdata[1]:.1%}, %{customdata[2]:.1%} below the best model<extra></extra>",
                        }
                    )
            views.append({"data": traces, "layout": self._bars(axis, self.tasks[::-1])})
        title = {"proxy": "Task-aware", "hybrid": "Hybrid", AGNOSTIC: "Task-agnostic"}[role]
        return self._chart(title, f"{title}: {NAMES[self.measure].lower()} by task", views, 70 + 26 * len(self.tasks))

    def pair(self, first: str, second: str, budget: int) -> tuple[str, Markup] | None:
        """How much better one strategy is than another on each task, sorted: Figures 5 and 6."""
        views = []
        for proxy in self.proxies:
            names = self.name(first, proxy), self.name(second, proxy)
            if names[0] == names[1]:  # the first proxy is compared with the second
                names = names[0], (*self.proxies, *self.proxies)[1]
            rows = [row for row in self.deltas if (row["first"], row["second"], row["budget"]) == (*names, budget)]
            rows.sort(key=lambda row: row[self.measure])
            trace = {
                "type": "bar",
                "orientation": "h",
                "y": [label(row["task"], 22) for row in rows],
                "x": [row[self.measure] for row in rows],
                "width": 0.6,
                "marker": {"color": ["var(--accent)" if row[self.measure] > 0 else "var(--wrong)" for row in rows]},
                "hovertemplate": f"<b>%{{y}}</b>: {_written('x', self.measure)}<extra></extra>",
            }
            ends = f"\N{LEFTWARDS ARROW} {label(names[1], 20)} \N{MIDDLE DOT} {label(names[0], 20)} \N{RIGHTWARDS ARROW}"
            worst = 1.05 * max((abs(row[self.measure]) for row in rows), default=0) or 0.1
            axis = {**_ticks(self.measure), "title": {"text": ends}, "range": [-worst, worst], "zeroline": True}
            views.append({"data": [trace] if rows else [], "layout": self._bars(axis, [row["task"] for row in rows])})
        title = {AGNOSTIC: "Task-agnostic", "hybrid": "Hybrid", "first": self.name("first", "").capitalize()}[first]
        other = "another proxy" if first == "first" else "task-aware"
        return self._chart(f"{title} or {other}, B = {budget}", f"{title} against {other}, by task", views, 90 + 26 * len(self.tasks))

    def by_dimension(self) -> tuple[str, Markup] | None:
        """Scores and fine-tuned accuracies against the number of features, both in standard deviations over the models of a task."""
        if len({row["feature_dim"] for row in self.dimensions}) < 2:
            return None
        views = []
        for proxy in self.proxies:
            rows = [row for row in self.dimensions if proxy in row]
            traces = []
            # A little to the left and to the right of where they belong, so that neither hides the other.
            for key, name, shift, marker in (
                ("accuracy", "fine-tuned accuracy", 0.99, {"color": "var(--text)", "symbol": "circle-open", "size": 7}),
                (proxy, label(proxy), 1.01, {"color": "var(--accent)", "symbol": "circle", "size": 7}),
            ):
                levels = _standardised(rows, key)
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "name": name,
                        "x": [row["feature_dim"] * shift for row in rows],
                        "y": levels,
                        "marker": marker,
                        "customdata": [[label(row["model"]), label(row["task"], 22), row[key], row["feature_dim"]] for row in rows],
                        "hovertemplate": "<b>%{customdata[0]}</b> on %{customdata[1]}<br>"
                        + f"{name}: %{{customdata[2]:.3g}}, %{{customdata[3]}} features<extra></extra>",
                    }
                )
            layout = {
                "xaxis": {"type": "log", "title": {"text": "features"}},
                "yaxis": {"title": {"text": "standard deviations over a task's mean"}},
                "hovermode": "closest",
            }
            views.append({"data": traces if rows else [], "layout": layout})
        return self._chart("Score and feature dimension", "Scores and fine-tuned accuracies against the number of features", views, 320)

    def _worst(self) -> float:
        """One scale for all strategies of a pool, so that they can be compared by eye."""
        drawn = {AGNOSTIC, *self.proxies, *(f"hybrid-{proxy}" for proxy in self.proxies)}
        return 1.03 * max((row[self.measure] for (_, name, _), row in self.rows.items() if name in drawn), default=0) or 0.1

    def _bars(self, axis: dict[str, Any], upwards: list[str]) -> dict[str, Any]:
        order = {"categoryorder": "array", "categoryarray": [label(task, 22) for task in upwards]}
        return {"barmode": "overlay", "xaxis": axis, "yaxis": {"type": "category", "showgrid": False, **order}, "hovermode": "closest"}

    def _chart(self, title: str, about: str, views: list[dict[str, Any]], height: int) -> tuple[str, Markup] | None:
        if not any(view["data"] for view in views):
            return None
        key = f"{self.key}-chart-{len(self.keys)}"
        self.keys.append(key)
        return title, chart(key, about, *views, height=height, choices=False)


def _standardised(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """A column less its task's mean, in standard deviations over the task's models."""
    by_task: dict[str, list[float]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row[key])
    return [(row[key] - fmean(by_task[row["task"]])) / (pstdev(by_task[row["task"]]) or 1.0) for row in rows]


def _ticks(measure: str) -> dict[str, Any]:
    return {} if measure == "log_odds" else {"tickformat": "~%"}


def _written(axis: str, measure: str) -> str:
    return f"%{{{axis}:.2f}} nats" if measure == "log_odds" else f"%{{{axis}:.1%}}"
