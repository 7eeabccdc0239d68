"""The page of a run: one HTML file that needs nothing else."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hubtune.errors import RunError
from hubtune.report.comparison import comparison
from hubtune.report.curves import cells, curves
from hubtune.report.headline import headline
from hubtune.report.headroom import headroom
from hubtune.report.landmarks import landmarks
from hubtune.report.matching import matching
from hubtune.report.mistakes import confusion, wrong
from hubtune.report.paths import path_samples, paths
from hubtune.report.play import learning, played
from hubtune.report.ranking import ranking
from hubtune.report.record import parse
from hubtune.report.saliency import saliency
from hubtune.report.section import Section, fill, source_text
from hubtune.report.sweeps import sweeps
from hubtune.report.use import reproduce, use
from hubtune.runs import read_record

# In the order of the page. A section is a function of a record and its folder; it answers None where the run has nothing for it.
SECTIONS = (
    headline,
    comparison,
    headroom,
    learning,
    played,
    sweeps,
    ranking,
    cells,
    curves,
    matching,
    saliency,
    paths,
    path_samples,
    landmarks,
    confusion,
    wrong,
    use,
    reproduce,
)


def render(record: dict[str, Any], folder: Path, home: Path | None = None) -> str:
    """The page of a run as HTML.

    Args:
        record: what the run's ``record.json`` holds.
        folder: the run's folder, which images are read from.
        home: the folder that the code on the page loads the model from, where ``folder`` is yet to be renamed to it.

    Raises:
        RunError: a part of the record is not what it should be.
    """
    parsed = parse(record, home or folder)
    sections = [section for make in SECTIONS if (section := make(parsed, folder)) is not None]
    title = parsed.task.name or parsed.request.data or parsed.home.name
    return document(title, sections, parsed.hubtune, record=True)


def document(title: str, sections: Sequence[Section], version: str | None, record: bool = False) -> str:
    """Sections as one HTML page that needs no network.

    Args:
        title: of the page.
        sections: in order; the first has no heading of its own.
        version: of HubTune, where it is known.
        record: whether there is a ``record.json`` beside the page.
    """
    scripts = [source_text("page.js")]
    if any(section.charts for section in sections):
        scripts.insert(0, Markup(get_plotlyjs()))
    page = fill(
        "page.html",
        title=title,
        sections=sections,
        style=source_text("page.css"),
        scripts=scripts,
        policy=_policy(scripts),
        version=version,
        record=record,
    )
    return f"{page}\n"


def write(run_folder: Path, home: Path | None = None) -> Path:
    """Make ``report.html`` in a run's folder from what the folder holds, and return its path.

    Args:
        run_folder: the folder with ``record.json``.
        home: what the folder will be called, where it is yet to be renamed.

    Raises:
        RunError: the folder is no run, its record is damaged, or the page cannot be written.
    """
    return put(render(read_record(run_folder), run_folder, home), run_folder / "report.html")


def put(page: str, target: Path) -> Path:
    """Write a page whole or not at all, and return its path.

    Raises:
        RunError: it cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=".report.", dir=target.parent)
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(f"{target} cannot be written ({error.strerror}); free some space or allow writing to the folder") from error
    return target


def _policy(scripts: list[Markup]) -> str:
    """A content security policy: the page's own scripts by their hashes, nothing from any network."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # Plotly styles its elements inline and saves a picture of a chart by way of data and blob addresses.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
