"""What a tune would cost, measured on a few images before anything long begins."""

import time
from collections.abc import Callable
from typing import Any

import torch

from hubtune.errors import HubTuneError
from hubtune.hub import Backbone, Hub
from hubtune.tasks import Task
from hubtune.training.method import Method
from hubtune.training.runtime import Runtime
from hubtune.training.trained_method import TrainedMethod

PROBE = 16
"""Images of the measured step."""


def estimate(
    task: Task, hub: Hub, method: Method, *, budget: int | None = None, input_size: int | None = None, device: str | None = None
) -> dict[str, Any]:
    """Seconds and downloads of a ``tune`` with the same arguments.

    Models whose weights are on this machine are measured: one forward pass and one training step of a small batch. Models that would
    have to be downloaded are not loaded; their size is given, and their seconds are the mean of the measured models'.

    Returns:
        ``rows`` (name, download_bytes, search_seconds, training_seconds, error), ``search_seconds``, ``trained`` (number of
        trainings) and ``seconds`` in all, on one core.
    """
    runtime = Runtime(device_name=device)
    variants = method.variants(task)
    rows = []
    for card in hub:
        row: dict[str, Any] = {"name": card.name, "download_bytes": hub.download_bytes(card.name), "error": None}
        try:
            if not row["download_bytes"]:
                row |= _measure(task, hub, card.name, variants, input_size, runtime)
        except HubTuneError as error:
            row["error"] = str(error)
        rows.append(row)
    for column in ("search_seconds", "training_seconds"):
        measured = [row[column] for row in rows if column in row]
        for row in rows:
            row.setdefault(column, sum(measured) / len(measured) if measured else float("nan"))
    picks = min(budget or len(rows), len(rows))
    dearest = sorted((row["training_seconds"] for row in rows), reverse=True)[:picks]
    search_seconds = sum(row["search_seconds"] for row in rows) if budget else 0.0
    return {
        "rows": rows,
        "search_seconds": search_seconds,
        "trained": picks * len(variants),
        "seconds": search_seconds + sum(dearest),
    }


def _measure(task: Task, hub: Hub, name: str, variants: list[Method], input_size: int | None, runtime: Runtime) -> dict[str, float]:
    backbone = hub.load(name, input_size=hub[name].size_within(input_size))
    canvas_size = task.canvas_size([backbone.input_size])
    rows = list(range(min(PROBE, len(task.train))))
    canvas = task.train.canvas(rows, canvas_size).to(runtime.device)
    targets = task.train.targets[rows].to(runtime.device)
    backbone = backbone.to(runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with torch.inference_mode():
        forward = _seconds(lambda: backbone.embed(backbone.view(canvas))) / len(rows)
    training = 0.0
    for variant in variants:
        if isinstance(variant, TrainedMethod):
            step = _seconds(lambda: _step(backbone, task, canvas, targets)) / len(rows)
            evaluated = variant.evaluations * len(task.val) + len(task.val) + len(task.test)
            training += step * variant.scheduled_steps(task) * variant.scheduled_batch_size(task) + forward * evaluated
        else:
            training += forward * (len(task.train) + 2 * len(task.val) + len(task.test))
    return {"search_seconds": forward * (len(task.train) + len(task.val)), "training_seconds": training}


def _step(backbone: Backbone, task: Task, canvas: torch.Tensor, targets: torch.Tensor) -> None:
    head = task.head(backbone.feature_dim).to(canvas.device)
    task.loss(head(backbone.embed(backbone.view(canvas))), targets).mean().backward()


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two goes: the first one warms up."""
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best
