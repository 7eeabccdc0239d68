"""Where the model errs: the confusion matrix, the classes, and the images it got most surely wrong."""

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from hubtune.report.record import Record
from hubtune.report.section import Section, chart, fill, label

LARGE = 20  # classes: more need the width of the page for their names to be legible
PALE = 0.2  # share of a class: rarer mistakes stay pale even where there are no worse ones
MOST_PAIRS = 10
MOST_IMAGES = 40
THUMBNAIL = 224  # pixels at most, the longer side
PIXELATED = 96  # an image smaller than this is shown enlarged, with its pixels visible


def confusion(record: Record, folder: Path) -> Section | None:
    """The confusion matrix, readable from 2 to hundreds of classes, with the pairs and classes that matter as text."""
    if not sum(map(sum, record.confusion)):
        return None
    table, names = record.confusion, [record.class_name(index) for index in range(len(record.confusion))]
    totals, guesses = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    pairs = [(table[i][j], i, j) for i in range(len(table)) for j in range(len(table)) if i != j and table[i][j]]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    classes = [
        {"name": name, "images": total, "recall": hit / total if total else None, "precision": hit / guessed if guessed else None}
        for name, total, guessed, hit in zip(names, totals, guesses, (table[i][i] for i in range(len(table))), strict=True)
    ]
    classes.sort(key=lambda c: (c["recall"] is None, c["recall"]))
    large, about = len(table) > LARGE, "Confusion matrix: true class by row, predicted class by column"
    body = fill(
        "confusion.html",
        chart=chart("confusion-chart", about, _matrix(table, names), height=1040 if large else 640, square=True),
        large=large,
        pairs=[(names[i], names[j], times, times / totals[i]) for times, i, j in pairs[:MOST_PAIRS]],
        more=max(0, len(pairs) - MOST_PAIRS),
        classes=classes,
    )
    return Section("confusion", "Confusion", body, charts=True)


def _matrix(table: list[list[float]], names: list[str]) -> dict[str, Any]:
    """Hits and mistakes are two heat maps, so that rare mistakes keep a colour of their own beside a strong diagonal."""
    labels, places = [label(name, 22) for name in names], list(range(len(names)))
    shares = [[round(times / (sum(row) or 1), 6) for times in row] for row in table]
    hits = [[shares[i][j] or None if i == j else None for j in places] for i in places]
    misses = [[shares[i][j] or None if i != j else None for j in places] for i in places]
    worst = max((share for row in misses for share in row if share), default=None)
    data = [_heat(table, hits, 1.0, "var(--hit-low)", "var(--hit-high)")] if any(map(any, hits)) else []
    data += [_heat(table, misses, max(worst, PALE), "var(--miss-low)", "var(--miss-high)")] if worst else []
    axis = {"tickvals": places, "ticktext": labels, "showgrid": False, "range": [-0.5, len(names) - 0.5]}
    layout = {
        "xaxis": {**axis, "title": {"text": "predicted class"}},
        "yaxis": {**axis, "title": {"text": "true class"}, "range": [len(names) - 0.5, -0.5]},
        "plot_bgcolor": "var(--empty)",
    }
    return {"data": data, "layout": layout}


def _heat(table: list[list[float]], shares: list[list[float | None]], top: float, low: str, high: str) -> dict[str, Any]:
    counts = [[f"{times:.0f}" if share else "" for times, share in zip(*rows, strict=True)] for rows in zip(table, shares, strict=True)]
    return {
        "type": "heatmap",
        "z": shares,
        "text": counts,
        "texttemplate": "%{text}",
        "textfont": {"color": "var(--text)"},
        "zmin": 0,
        "zmax": top,
        "colorscale": [[0, low], [1, high]],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "true: %{y}<br>predicted: %{x}<br>%{text} images, %{z:.1%} of the true class<extra></extra>",
    }


def wrong(record: Record, folder: Path) -> Section | None:
    """The images that were misclassified with the greatest confidence."""
    if not record.wrong:
        return None
    ordered = sorted(record.wrong, key=lambda image: -(image.probability or 0))[:MOST_IMAGES]
    tiles = [
        {"image": image, "truth": record.class_name(image.target), "answer": record.class_name(image.label)}
        | thumbnail(folder, image.image)
        for image in ordered
    ]
    return Section("wrong", "Most confident mistakes", fill("wrong.html", tiles=tiles))


def thumbnail(folder: Path, name: str | None) -> dict[str, Any]:
    """An image of the run's folder as a data URI; none where it is missing, damaged or outside the folder."""
    path = (folder / (name or "")).resolve()
    if not name or not path.is_relative_to(folder.resolve()):
        return {"uri": None, "small": False}
    try:
        with Image.open(path) as image:
            small = max(image.size) <= PIXELATED
            shown = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {"uri": None, "small": False}
    shown.thumbnail((THUMBNAIL, THUMBNAIL))
    content, kind = io.BytesIO(), "png" if small else "jpeg"
    shown.save(content, kind, **({} if small else {"quality": 85}))
    return {"uri": f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}", "small": small}
