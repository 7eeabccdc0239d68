"""One model for all images, several, or the right one for each: how much lies between."""

from pathlib import Path

from hubtune.report.comparison import written
from hubtune.report.record import Contestant, Record
from hubtune.report.section import Section, fill, is_share

ORDER = ("best-single", "best-single, chosen on test", "ensemble-top-k", "ensemble", "hub-pathway", "oracle")
MEANING = {
    "best-single": "one model for all images, chosen on validation images",
    "best-single, chosen on test": "an upper bound of it that nobody can choose by",
    "ensemble-top-k": "the same few models for all images",
    "ensemble": "all models for all images",
    "hub-pathway": "a few models, others for each image",
    "oracle": "the right model for each image wherever there is one; it knows the labels",
}


def headroom(record: Record, folder: Path) -> Section | None:
    """Table 5 of the Hub-Pathway paper, where the run compared what it needs."""
    found = record.comparison
    if found is None or not is_share(found.metric) or not any(row.method == "oracle" and row.analysis for row in found.rows):
        return None
    rows = sorted((row for row in found.rows if row.method in ORDER and found.score(row) is not None), key=_place)
    if len(rows) < 3:
        return None
    values = [found.score(row) or 0.0 for row in rows]
    # Bars begin a little below the least of them: between methods that are all good, what differs is a small part of the whole.
    start = max(0.0, min(values) - 0.25 * (max(values) - min(values)))
    shown = [
        {
            "row": row,
            "meaning": MEANING[row.method or ""],
            "written": written(found, row),
            "bar": 100 * (value - start) / ((max(values) - start) or 1),
        }
        for row, value in zip(rows, values, strict=True)
    ]
    return Section("headroom", "Room for paths", fill("headroom.html", rows=shown, start=start))


def _place(row: Contestant) -> tuple[int, str]:
    return ORDER.index(row.method or ""), row.label
