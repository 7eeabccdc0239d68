"""What all sections share: templates, charts, and how numbers and names are written."""

import functools
import html
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from hubtune.report.record import Cell, Chosen

DASH = "\N{EN DASH}"
METRICS = {
    "test_accuracy": "Test accuracy",
    "val_accuracy": "Validation accuracy",
    "test_balanced_accuracy": "Balanced test accuracy",
    "test_macro_f1": "Macro F1 on test",
    "test_loss": "Test loss",
    "test_nme": "NME on test",
    "val_nme": "NME on validation",
    "test_failure_8": "Test images with an NME above 8%",
    "test_failure_10": "Test images with an NME above 10%",
    "test_auc_10": "AUC up to an NME of 10%",
    "test_score": "Mean score of the last games",
    "test_human_normalised": "Human-normalised score",
    "test_score_spread": "Standard deviation over the games",
    "test_game_steps": "Agent steps a game",
}
"""The results of a run, in the order in which they are shown."""
NAMES = METRICS | {
    "test_closeness": "1 \N{MINUS SIGN} NME on test",
    "val_closeness": "1 \N{MINUS SIGN} NME on validation",
    "val_failure_8": "Validation images with an NME above 8%",
    "val_failure_10": "Validation images with an NME above 10%",
    "val_auc_10": "AUC on validation up to an NME of 10%",
}
"""Of other quantities too, where words made of their names would not do."""
SHARES = ("accuracy", "_f1", "_nme", "_closeness", "_failure_8", "_failure_10", "_auc_10", "_human_normalised")
"""Ends of the names of metrics that are read as percentages."""


@dataclass(frozen=True)
class Section:
    """One part of the page: ``body`` is finished HTML, and ``charts`` says whether it needs plotly."""

    key: str
    title: str
    body: Markup
    charts: bool = False


def percent(share: float | None, digits: int = 1) -> str:
    """0.9641 -> "96.4%"."""
    return DASH if share is None else f"{100 * share:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them: "0.8 s", "4 min 05 s", "2 h 13 min"."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: float | None) -> str:
    """1234567 -> "1.23 M"."""
    if number is None:
        return DASH
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + unit
    return f"{number:.3g}" if number % 1 else f"{number:.0f}"


def score(number: float | None) -> str:
    """A score or a metric of unknown scale, to four digits, without an exponent where it is not huge."""
    if number is None:
        return DASH
    return f"{number:.0f}" if 1e4 <= abs(number) < 1e9 else f"{number:#.4g}".rstrip(".")


def moment(created: str | None) -> str | None:
    """An ISO time as a date and a time of day in UTC; as it is where it is no such time."""
    try:
        time = datetime.fromisoformat(created or "")
    except ValueError:
        return created
    return f"{time.astimezone(UTC):%d %B %Y, %H:%M} UTC" if time.tzinfo else f"{time:%d %B %Y, %H:%M}"


def metric(name: str, number: float) -> str:
    """A metric in its unit."""
    return percent(number) if is_share(name) else score(number)


def is_share(name: str) -> bool:
    """Whether a metric is read as a percentage: accuracies, F1, and what is measured of points."""
    return name.endswith(SHARES)


def metric_name(name: str) -> str:
    """What a metric or another measured quantity is called on the page."""
    split, _, rest = name.partition("_")
    words = {"val": "validation", "train": "training"}.get(split, split), *rest.split("_")
    return NAMES.get(name) or " ".join(words).strip().capitalize()


def metric_phrase(name: str) -> str:
    """The same within a sentence or along an axis: only acronyms keep their capitals."""
    return " ".join(word if word.isupper() else word.lower() for word in metric_name(name).split())


def plain(value: Any) -> str:
    """A configuration's value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def several(names: list[str], limit: int = 3) -> str:
    """A list of names that stays short."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def shortened(text: str, limit: int = 40) -> str:
    """Text on one line, shortened in the middle, since names often differ at their ends."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"


def label(text: str, limit: int = 40) -> str:
    """Text for a chart: shortened, and escaped, since plotly reads tags in labels."""
    return html.escape(shortened(text, limit), quote=False)


def differing(cells: list[Cell]) -> list[str]:
    """The configuration keys by which cells of one run differ."""
    keys = sorted({key for cell in cells for key in cell.config})
    return [key for key in keys if len({plain(cell.config.get(key)) for cell in cells}) > 1]


def cell_name(cell: Chosen, keys: list[str]) -> str:
    """A cell in words: method, models, and the configuration by which it differs from its siblings."""
    config = ", ".join(f"{key} = {plain(cell.config[key])}" for key in keys if key in cell.config)
    return " \N{MIDDLE DOT} ".join(part for part in (cell.method, several(cell.models), config) if part)


def source_text(template: str) -> Markup:
    """A file of the templates folder as it is, such as the style sheet."""
    # A browser reads any line end as one character, and so must the hash of a script.
    return Markup((resources.files("hubtune.report") / "templates" / template).read_text("utf-8").replace("\r\n", "\n"))


def fill(template: str, **values: Any) -> Markup:
    """A template with its values; all text in the values is escaped."""
    return Markup(_environment().get_template(template).render(**values).strip())


def chart(key: str, about: str, *views: dict[str, Any], height: int = 360, square: bool = False, choices: bool = True) -> Markup:
    """A chart as HTML.

    Args:
        key: its id on the page.
        about: what it shows, for those who cannot see it.
        views: figures (``data``, ``layout``), each with a ``label`` where there are several to choose from.
        height: pixels.
        square: make it as high as it is wide; ``height`` is then the most.
        choices: draw a button for each of several views; without, buttons elsewhere on the page choose.
    """
    spec = {"views": views, "height": height, "square": square}
    return fill("chart.html", key=key, about=about, views=views, spec=spec, choices=choices)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hubtune.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    for function in (percent, duration, count, score, metric, metric_name, plain, several):
        environment.filters[function.__name__] = function
    environment.globals["DASH"] = DASH
    return environment
