"""What was transferred where: the matched layers, how much each pair counts, and the channels that count most."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from hubtune.report.record import MatchedPair, Matching, Network, Record
from hubtune.report.section import Section, chart, fill, label, shortened

LEAST = 0.1  # Figure 3(d) of the paper omits what counts less
THICKEST = 14.0  # pixels of the line of the pair that counts most
WIDTH, BOX, STEP, TOP = 860, 250, 44, 30  # pixels of the picture: its width, a box, from box to box, above the first
STROKES = [(colour, dash) for dash in ("solid", "dash") for colour in ("var(--accent)", "var(--wrong)", "var(--text)")]
MOST_CHARTS = 12


def matching(record: Record, folder: Path) -> Section | None:
    """Figures 3(d) and 4 of the L2T-ww paper, and the most used channels."""
    found = record.summary.matching
    if found is None or not found.pairs:
        return None
    varied = any(any(pair.lambda_std) for pair in found.pairs)
    charts = _charts(found) if (varied if found.where is None else found.where) else []
    body = fill(
        "matching.html",
        picture=_picture(found),
        omitted=sum(pair.amount < LEAST for pair in found.pairs),
        learnt=any(pair.lambda_mean for pair in found.pairs),
        where=bool(charts),
        charts=charts[:MOST_CHARTS],
        more=max(0, len(charts) - MOST_CHARTS),
        strokes=[(layer.name, *_stroke(place)) for place, layer in _target_layers(found)],
        pairs=sorted(found.pairs, key=lambda pair: -pair.amount),
        many=len(found.sources) > 1,
        found=found,
    )
    return Section("matching", "What was transferred where", body, charts=bool(charts))


def _picture(found: Matching) -> Markup:
    """Sources on the left, the target on the right, a line a pair, shallow layers at the top."""
    left: list[dict[str, Any]] = []
    places: dict[tuple[int, int], float] = {}
    y = TOP
    for s, source in enumerate(found.sources):
        left.append({"title": source.name, "y": y - 10})
        for m, layer in enumerate(source.layers):
            left.append({"name": shortened(layer.name, 24), "size": layer.shape, "y": y})
            places[s, m] = y + STEP / 2 - 6
            y += STEP
        y += TOP
    column = STEP * len(found.target.layers)
    height = max(y - TOP, TOP + column)
    start = TOP + (height - TOP - column) / 2
    right: list[dict[str, Any]] = [{"title": found.target.name, "y": start - 10}]
    right += [
        {"name": shortened(layer.name, 24), "size": layer.shape, "y": start + STEP * n} for n, layer in enumerate(found.target.layers)
    ]
    scale = THICKEST / max(1.0, *(pair.amount for pair in found.pairs))
    lines = [
        {
            "y1": places[pair.source, pair.source_layer],
            "y2": start + STEP * (pair.target_layer + 0.5) - 6,
            "width": round(scale * pair.amount, 2),
            "title": f"{_names(found, pair)}: {pair.amount:.2f}",
        }
        for pair in sorted(found.pairs, key=lambda pair: pair.amount)
        if pair.amount >= LEAST
    ]
    return fill(
        "matching_picture.html", left=left, right=right, lines=lines, width=WIDTH, height=round(height), box=BOX, box_height=STEP - 12
    )


def _names(found: Matching, pair: MatchedPair) -> str:
    source = found.sources[pair.source]
    return f"{source.name}/{source.layers[pair.source_layer].name} \N{RIGHTWARDS ARROW} {found.target.layers[pair.target_layer].name}"


def _target_layers(found: Matching) -> list[tuple[int, Any]]:
    used = {pair.target_layer for pair in found.pairs}
    return [(place, layer) for place, layer in enumerate(found.target.layers) if place in used]


def _stroke(target_layer: int) -> tuple[str, str]:
    """The colour and the dash of a target layer."""
    return STROKES[target_layer % len(STROKES)]


def _charts(found: Matching) -> list[tuple[str, Markup]]:
    """One for each source layer, all with one scale: lambda of its pairs over the training, with one standard deviation around."""
    top = max(mean + std for pair in found.pairs for mean, std in zip(pair.lambda_mean, pair.lambda_std, strict=True))
    charts = []
    for s, source in enumerate(found.sources):
        for m, layer in enumerate(source.layers):
            pairs = [pair for pair in found.pairs if (pair.source, pair.source_layer) == (s, m)]
            if pairs:
                title = _layer_title(found, source, layer.name)
                view = _view(found, pairs, 1.05 * top)
                charts.append((title, chart(f"lambda-{s}-{m}", f"Lambda of {title} over the training", view, height=240)))
    return charts


def _layer_title(found: Matching, source: Network, layer: str) -> str:
    return f"{source.name}/{layer}" if len(found.sources) > 1 else layer


def _view(found: Matching, pairs: list[MatchedPair], top: float) -> dict[str, Any]:
    bands = [_band(found.progress, pair) for pair in pairs]
    lines = [_line(found.progress, pair, found.target.layers[pair.target_layer].name) for pair in pairs]
    layout = {
        "xaxis": {
            "title": {"text": "share of the training"},
            "tickformat": ".0%",
            "tickvals": [0, 0.5, 1],
            "ticklabeloverflow": "allow",
            "range": [0, 1],
        },
        "yaxis": {"title": {"text": "lambda"}, "range": [0, top]},
        "hovermode": "closest",
    }
    return {"data": bands + lines, "layout": layout}


def _band(progress: list[float], pair: MatchedPair) -> dict[str, Any]:
    upper = [mean + std for mean, std in zip(pair.lambda_mean, pair.lambda_std, strict=True)]
    lower = [mean - std for mean, std in zip(pair.lambda_mean, pair.lambda_std, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": progress + progress[::-1],
        "y": upper + lower[::-1],
        "fill": "toself",
        "fillcolor": _stroke(pair.target_layer)[0],
        "line": {"width": 0},
        "opacity": 0.15,
        "hoverinfo": "skip",
    }


def _line(progress: list[float], pair: MatchedPair, name: str) -> dict[str, Any]:
    colour, dash = _stroke(pair.target_layer)
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(progress) < 5 else "lines",
        "name": label(name),
        "x": progress,
        "y": pair.lambda_mean,
        "line": {"color": colour, "dash": dash, "width": 2},
        "customdata": [[label(name), std] for std in pair.lambda_std],
        "hovertemplate": "to %{customdata[0]}<br>%{x:.0%}: %{y:.3f} \N{PLUS-MINUS SIGN} %{customdata[1]:.3f}<extra></extra>",
    }
