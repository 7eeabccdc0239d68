"""Where the points were found, beside where they are, and how often how far apart."""

from pathlib import Path

from hubtune.report.mistakes import thumbnail
from hubtune.report.record import Record
from hubtune.report.section import Section, chart, fill


def landmarks(record: Record, folder: Path) -> Section | None:
    """The error curve and pictures from the best to the worst, where the task is one of points."""
    found = record.landmarks
    if found is None or not found.thresholds:
        return None
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": found.thresholds,
        "y": found.share,
        "line": {"color": "var(--accent)", "width": 2.5},
        "hovertemplate": "%{y:.1%} of the images have an NME up to %{x:.1%}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "NME"}, "tickformat": ".0%"},
        "yaxis": {"title": {"text": "share of test images"}, "tickformat": ".0%", "range": [0, 1]},
        "hovermode": "closest",
    }
    about = "Share of the test images whose normalised mean error is at most so much"
    curve = chart("error-curve", about, {"data": [line], "layout": layout}, height=300)
    tiles = [{"error": sample.error, "id": sample.id} | thumbnail(folder, sample.image) for sample in found.samples]
    return Section("landmarks", "Points", fill("landmarks.html", curve=curve, tiles=tiles), charts=True)
