"""Which models the images pass through: mean weights, how good the choice is, and images with the path of each."""

from pathlib import Path
from typing import Any

from hubtune.report.mistakes import thumbnail
from hubtune.report.record import Paths, Record, Sample
from hubtune.report.section import Section, chart, fill, label

ROW = 34  # pixels of a model's bars


def paths(record: Record, folder: Path) -> Section | None:
    """Figure 3(a) and 3(b) of the Hub-Pathway paper, where the run has paths."""
    found = [each for each in record.paths if each.models and len(each.weights) == len(each.models)]
    if not found:
        return None
    height = 90 + ROW * len(found[0].models)
    models = list(dict.fromkeys(name for each in found for name in each.models))
    body = fill(
        "paths.html",
        first=found[0],
        chart=chart("paths-chart", "Mean path weight of each model", _figure(found[0]), height=height),
        models=models,
        table=[(each.label, [_share(each, name) for name in models]) for each in found] if len(found) > 1 else [],
        most=max(weight for each in found for weight in each.weights) or 1,
        qualities=[(each.label, each.quality) for each in found if each.quality],
        classes=record.task.kind in (None, "classification"),
        compared=record.comparison is not None,
    )
    return Section("paths", "Paths", body, charts=True)


def path_samples(record: Record, folder: Path) -> Section | None:
    """Figure 4: test images, each with the weights of the models on its path."""
    found = next((each for each in record.paths if each.samples), None)
    if found is None:
        return None
    tiles = [_tile(record, found, sample) | thumbnail(folder, sample.image) for sample in found.samples]
    return Section("samples", "Images and their paths", fill("path_samples.html", tiles=tiles, label=found.label))


def _tile(record: Record, found: Paths, sample: Sample) -> dict[str, Any]:
    weights = sorted(zip(found.models, sample.weights, strict=False), key=lambda pair: -pair[1])
    answer = None if sample.label is None else record.class_name(sample.label)
    return {
        "id": sample.id,
        "answer": answer,
        "truth": None if sample.target in (None, sample.label) else record.class_name(sample.target or 0),
        "weights": [(name, weight) for name, weight in weights if weight > 0],
    }


def _share(found: Paths, model: str) -> float | None:
    return found.weights[found.models.index(model)] if model in found.models else None


def _figure(found: Paths) -> dict[str, Any]:
    names = [label(name, 28) for name in found.models]
    places = list(range(len(names)))
    bars = [_bars("mean weight", found.weights, places, names, "var(--accent)", 0.0)]
    if len(found.activated) == len(names):
        bars.append(_bars("images that pass through it", found.activated, places, names, "var(--soft-mark)", 0.38))
    layout = {
        "xaxis": {"title": {"text": "share"}, "tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"tickvals": [place + 0.19 for place in places], "ticktext": names, "range": [len(names) - 0.4, -0.6], "showgrid": False},
        "hovermode": "closest",
        "bargap": 0.2,
    }
    return {"data": bars, "layout": layout}


def _bars(what: str, shares: list[float], places: list[int], names: list[str], color: str, shift: float) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": shares,
        "y": [place + shift for place in places],
        "width": 0.36,
        "marker": {"color": color},
        "text": [f"{100 * share:.0f}%" for share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "customdata": [[name, what] for name in names],
        "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}: %{x:.1%}<extra></extra>",
    }
