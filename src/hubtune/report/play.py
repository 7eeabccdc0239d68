"""What policies learnt in a game: their curves, their scores, and a game to watch."""

import base64
from pathlib import Path
from typing import Any

from hubtune.report.record import PolicyGroup, Record
from hubtune.report.section import Section, chart, fill, label

COLOURS = ("var(--accent)", "#c2410c", "#0f766e", "#7c3aed", "#b45309", "#be185d", "#4d7c0f", "#0369a1")
DASHES = ("solid", "dash", "dot", "dashdot")
LARGEST_VIDEO = 20_000_000
"""Bytes that a page may hold."""


def learning(record: Record, folder: Path) -> Section | None:
    """The learning curve of each method, with its spread over the seeds, and the last scores."""
    if record.play is None or not record.play.groups:
        return None
    groups = record.play.groups
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(groups))]
    strokes = [
        (group.label, colour, DASHES[place // len(COLOURS) % 4]) for place, (group, colour) in enumerate(zip(groups, colours, strict=True))
    ]
    traces = [trace for group, (_, colour, dash) in zip(groups, strokes, strict=True) for trace in _traces(group, colour, dash)]
    layout = {"xaxis": {"title": {"text": "agent steps"}}, "yaxis": {"title": {"text": "score"}}, "hovermode": "closest"}
    about = "Mean score of the last ten games of the training, by agent step, with one standard deviation over the seeds"
    curve = chart("learning", about, {"data": traces, "layout": layout}, height=380)
    ordered = sorted(groups, key=lambda group: -(group.mean if group.mean is not None else float("-inf")))
    several = any(len(group.seeds) > 1 for group in groups)
    return Section(
        "learning", "Learning", fill("learning.html", curve=curve, strokes=strokes, groups=ordered, several=several), charts=True
    )


def played(record: Record, folder: Path) -> Section | None:
    """A game of the best policy, and the scores of all that it was judged by."""
    play = record.play
    if play is None or not (play.episodes or play.video):
        return None
    return Section("played", "Play", fill("played.html", play=play, video=video(folder, play.video)))


def video(folder: Path, name: str | None) -> str | None:
    """An animation of the run's folder as a data URI; None where it is missing, too large, no GIF, or outside the folder."""
    path = (folder / (name or "")).resolve()
    if not name or not path.is_relative_to(folder.resolve()):
        return None
    try:
        if path.stat().st_size > LARGEST_VIDEO:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return f"data:image/gif;base64,{base64.b64encode(content).decode()}" if content.startswith(b"GIF8") else None


def _traces(group: PolicyGroup, colour: str, dash: str) -> list[dict[str, Any]]:
    name = label(group.label, 60)
    traces: list[dict[str, Any]] = []
    if len(group.seeds) > 1 and group.steps:
        pairs = list(zip(group.curve, group.curve_spread, strict=True))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [*group.steps, *reversed(group.steps)],
                "y": [*(mean + spread for mean, spread in pairs), *(mean - spread for mean, spread in reversed(pairs))],
                "fill": "toself",
                "fillcolor": colour,
                "opacity": 0.15,
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )
    common = {"type": "scatter", "name": name, "customdata": [name] * max(len(group.steps), len(group.evaluated))}
    common["hovertemplate"] = "%{customdata}<br>step %{x}: %{y:.4g}<extra></extra>"
    traces.append(common | {"mode": "lines", "x": group.steps, "y": group.curve, "line": {"color": colour, "width": 2.5, "dash": dash}})
    points = group.evaluated
    traces.append(
        common | {"mode": "markers", "x": [p.step for p in points], "y": [p.mean for p in points], "marker": {"size": 7, "color": colour}}
    )
    return traces
