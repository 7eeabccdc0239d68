"""Which pixels count more, and which less, since channels are weighed."""

import re
from pathlib import Path

from hubtune.report.mistakes import thumbnail
from hubtune.report.record import Record
from hubtune.report.section import Section, fill

_PICTURE = re.compile(r"saliency-(\d{1,4})-image")


def saliency(record: Record, folder: Path) -> Section | None:
    """Figure 6 of the L2T-ww paper, on a few validation images."""
    numbers = sorted(int(match[1]) for name in record.pictures if (match := _PICTURE.fullmatch(name)))
    if not numbers:
        return None
    tiles = [[thumbnail(folder, f"pictures/saliency-{number}-{kind}.png") for kind in ("image", "more", "less")] for number in numbers]
    return Section("saliency", "Where the weights look", fill("saliency.html", tiles=tiles))
