"""The card of a deployed model: README.md with the front matter that Hugging Face reads."""

import json
import re
from typing import Any

from hubtune.report.headline import interval
from hubtune.report.record import Record, parse
from hubtune.report.section import METRICS, metric, metric_name, plain
from hubtune.report.use import TIMM, licenses, python


def model_card(record: dict[str, Any]) -> str:
    """README.md of the model a run deploys: what it is, what it learned from, how good it is, whose licence it carries, how to use it.

    Raises:
        RunError: a part of the record is not what it should be.
    """
    run = parse(record)
    parts = (_front_matter(run), _title(run), _data(run), _results(run), _licence(run), _usage(run))
    return "\n".join(part for part in parts if part)


def _title(run: Record) -> str:
    method = (run.chosen and run.chosen.method) or run.request.method or "transfer"
    models = ", ".join(f"`{_code(name)}`" for name in run.chosen.models) if run.chosen and run.chosen.models else "no pre-trained model"
    config = ", ".join(f"{key} = {plain(value)}" for key, value in (run.chosen.config if run.chosen else {}).items())
    made = f"Made by HubTune {run.hubtune or ''}".strip()
    lines = [f"# {_name(run)}\n", f"{made}: method `{_code(method)}` from {models}.\n"]
    return "\n".join(lines + ([f"Configuration: `{_code(config)}`\n"] if config else []))


def _data(run: Record) -> str:
    task = run.task
    source, sizes = task.source or run.request.data, ", ".join(f"{size} {split}" for split, size in task.sizes.items())
    lines = [f"- Source: `{_code(source)}`"] if source else []
    lines += [f"- Images: {_text(sizes)}"] if sizes else []
    lines += [f"- Classes: {len(task.class_names)}: {_text(', '.join(task.class_names[:200]))}"] if task.class_names else []
    lines += [f"- Fingerprint: `{_code(task.fingerprint)}`"] if task.fingerprint else []
    return "\n".join(["## Data\n", *lines, ""]) if lines else ""


def _results(run: Record) -> str:
    bounds = interval(run)
    spread = f" (95% interval {metric('accuracy', bounds[0])} to {metric('accuracy', bounds[1])})" if bounds else ""
    shown = [name for name in METRICS if name in run.metrics]
    rows = [f"| {metric_name(n)} | {metric(n, run.metrics[n])}{spread if n == 'test_accuracy' else ''} |" for n in shown]
    return "\n".join(["## Results\n", "| Metric | Value |", "| --- | --- |", *rows, ""]) if rows else ""


def _licence(run: Record) -> str:
    lines = [
        f"- `{_code(name)}`: {_text(licence) if licence else 'unknown; ask its publisher before you pass the weights on'}"
        for name, licence in licenses(run)
    ]
    return "\n".join(["## Licence of the source models\n", "The weights are derived from these models:\n", *lines, ""]) if lines else ""


def _usage(run: Record) -> str:
    network = run.model is not None and run.model.format == "timm"
    snippet = TIMM.format(name="local-dir:path/to/this/folder") if network else python(run, "path/to/the/run")
    return f"## How to use\n\n```python\n{snippet}\n```\n"


def _name(run: Record) -> str:
    return _text(run.task.name or run.request.data or "HubTune model")


def _front_matter(run: Record) -> str:
    """YAML, of which JSON's strings and lists are a part."""
    network = run.model is not None and run.model.format == "timm"
    library = "timm" if network else "hubtune"
    given = {licence for _, licence in licenses(run)} or {run.model.license if run.model else None}
    licence = given.pop() if len(given) == 1 else "other"
    purpose = "keypoint-detection" if run.task.kind == "landmarks" else "image-classification"
    lines = [
        f"license: {_yaml((licence or 'unknown').lower())}",
        f"library_name: {library}",
        f"pipeline_tag: {purpose}",
        f"tags: {_yaml(sorted({purpose, 'transfer-learning', 'hubtune', library}))}",
    ]
    source = run.task.source or ""
    if source.startswith("hf:"):
        lines.append(f"datasets: {_yaml([source.removeprefix('hf:')])}")
    lines.append(f"metrics: [{'nme' if run.task.kind == 'landmarks' else 'accuracy'}]")
    if "test_accuracy" in run.metrics:
        data = run.task.name or run.request.data or "unknown"
        lines += [
            "model-index:",
            f"- name: {_yaml(data)}",
            "  results:",
            "  - task: {type: image-classification}",
            f"    dataset: {{name: {_yaml(data)}, type: {_yaml(source.removeprefix('hf:') or data)}, split: test}}",
            f"    metrics: [{{type: accuracy, value: {run.metrics['test_accuracy']!r}}}]",
        ]
    return "\n".join(["---", *lines, "---", ""])


def _yaml(value: Any) -> str:
    # YAML allows printable characters only, and reads no pairs of surrogate escapes.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&$])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Text for a code span, which knows no escapes."""
    return " ".join(text.replace("`", "'").split())
