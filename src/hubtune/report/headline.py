"""What was asked and what came out."""

from pathlib import Path
from typing import Any

from hubtune.report.record import Record
from hubtune.report.section import METRICS, NAMES, Section, count, duration, fill, metric, metric_phrase, moment, percent, plain, several

KINDS = {"tune": "Tuning run", "compare": "Comparison", "cell": "Training", "policy": "Policies"}


def headline(record: Record, folder: Path) -> Section:
    """The task, the result with its interval, the request, and whatever the user should be warned of."""
    body = fill(
        "headline.html",
        kind=KINDS.get(record.kind, record.kind.capitalize()),
        created=moment(record.created),
        title=record.task.name or record.request.data or record.home.name,
        sentences=[s for s in (_search_sentence(record), _result_sentence(record), _comparison_sentence(record)) if s],
        accuracy=record.metrics.get("test_accuracy"),
        interval=interval(record),
        baselines=_baselines(record),
        tiles=_tiles(record),
        facts=_facts(record),
        remarks=[*record.warnings, *record.task.notes],
    )
    return Section("result", "Result", body)


def interval(record: Record) -> tuple[float, float] | None:
    """The interval around the test accuracy, where the run has one."""
    low, high = record.metrics.get("test_accuracy_low"), record.metrics.get("test_accuracy_high")
    return None if low is None or high is None else (low, high)


def _search_sentence(record: Record) -> str | None:
    if not record.search or not record.search.rows:
        return None
    rows, picks = record.search.rows, record.search.picks
    late = sum(row.late for row in rows)
    failed = sum(row.error is not None for row in rows) - late
    models = f"{len(rows)} model{'s' * (len(rows) != 1)}"
    picked = f"{record.search.strategy or 'the search'} picked {several(picks)}" if picks else "none was picked"
    left_out = (f"; {failed} could not be scored" if failed else "") + (f"; there was no time left for {late}" if late else "")
    return f"Of {models}, {picked}{left_out}."


def _result_sentence(record: Record) -> str | None:
    chosen, accuracy = record.chosen, record.metrics.get("test_accuracy")
    if chosen is None or not (chosen.models or chosen.method):
        return None
    many = len(chosen.models) > 1
    models = f"{len(chosen.models)} models ({several(chosen.models)})" if many else several(chosen.models) or "a new network"
    if target := chosen.config.get("target"):  # the models taught it, and are not deployed
        models, many = f"{target} taught by {models}", False
    who = f"With {chosen.method}, {models}" if chosen.method else models
    if accuracy is None:
        return f"{who} {'were' if many else 'was'} chosen."
    size, bounds = record.task.sizes.get("test"), interval(record)
    images = f"{size} test images" if size else "the test images"
    spread = f" (95% interval {percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""
    return f"{who} {'classify' if many else 'classifies'} {percent(accuracy)} of {images} correctly{spread}."


def _comparison_sentence(record: Record) -> str | None:
    found = record.comparison
    if found is None or not found.methods:
        return None
    best, asked = found.methods[0], sum(not row.analysis for row in found.rows)
    failed = asked - len(found.methods)
    value = metric(found.metric, found.score(best) or 0.0)
    cost = f", at {count(best.flops)} FLOPs an image" if best.flops else ""
    seeds = f"{len(found.seeds)} seed{'s' * (len(found.seeds) != 1)}"
    among = f"Of {asked} methods over {seeds}, {best.label} does best: {metric_phrase(found.metric)} {value}{cost}"
    return among + (f"; {failed} failed." if failed else ".")


def _baselines(record: Record) -> list[dict[str, Any]]:
    """What costs nothing: always answering the most frequent class of the test images, or else guessing."""
    total = sum(map(sum, record.confusion))
    if total:
        return [{"name": "always the most frequent class", "value": max(map(sum, record.confusion)) / total}]
    classes = record.task.num_classes or len(record.task.class_names)
    return [{"name": "guessing", "value": 1 / classes}] if classes else []


def _tiles(record: Record) -> list[tuple[str, float]]:
    shown = [name for name in METRICS if name in record.metrics and name != "test_accuracy"]
    known = {*NAMES, "test_accuracy_low", "test_accuracy_high"}
    # Of what is known on validation alone, the main metric suffices.
    others = sorted(name for name in record.metrics if name not in known and not name.startswith("val_"))
    return [(name, record.metrics[name]) for name in [*shown, *others]]


def _facts(record: Record) -> list[tuple[str, str]]:
    request, task, search = record.request, record.task, record.search
    sizes = ", ".join(f"{size} {split}" for split, size in task.sizes.items())
    native = "\N{MULTIPLICATION SIGN}".join(map(str, task.native_size))
    classes = task.num_classes or len(task.class_names)
    facts = [
        ("Data", task.source or request.data),
        ("Images", f"{sizes}{f'; each {native} pixels' if native else ''}" if sizes else None),
        ("Classes", f"{classes}: {several(task.class_names, 6)}" if classes and task.class_names else plain(classes) if classes else None),
        ("Hub", request.hub and request.hub + (f" where {request.where}" if request.where else "")),
        ("Search", search and search.strategy and f"{search.strategy}, budget {search.budget}" if search and search.budget else None),
        ("Method", (record.chosen and record.chosen.method) or request.method),
        ("Methods", ", ".join(request.methods)),
        ("Models", ", ".join(record.comparison.models) if record.comparison else None),
        ("Input size", request.input_size and f"{request.input_size} pixels"),
        ("Source models" if record.chosen and len(record.chosen.models) > 1 else "Source model", _size(record)),
        ("Seed", None if request.seed is None else str(request.seed)),
        ("Time", record.seconds is not None and duration(record.seconds)),
    ]
    return [(name, value) for name, value in facts if value]


def _size(record: Record) -> str | None:
    params = [record.card(model).params for model in record.chosen.models] if record.chosen else []
    if not params or None in params:
        return None
    return f"{count(sum(number or 0 for number in params))} parameters" + (" in all" if len(params) > 1 else "")
