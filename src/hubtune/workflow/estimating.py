"""What a tune would cost, measured on a few images before anything long begins."""

import time
from collections.abc import Callable
from typing import Any

import torch

from hubtune.errors import HubTuneError
from hubtune.hub import Backbone, Hub
from hubtune.selection import AUTO, Strategy
from hubtune.selection.rounds import Staged
from hubtune.selection.strategies import strategy_for
from hubtune.tasks import Task
from hubtune.training.learner import Batch
from hubtune.training.method import Method, Setting
from hubtune.training.runtime import Runtime
from hubtune.training.trained_method import TrainedMethod
from hubtune.workflow.planning import Wanted, every_training

PROBE = 16
"""Images of the measured step."""
PASSES_OF_A_STEP = 4
"""What a step costs for one image, in forward passes of the network without its head: forward, backward, and a head that may be large."""


def estimate(
    task: Task,
    hub: Hub,
    method: Method,
    *,
    budget: int | None = None,
    strategy: str | Strategy = AUTO,
    input_size: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Seconds and downloads of a ``tune`` with the same arguments, to within a factor of about two.

    The same trainings are counted as ``tune`` would do, those that others are built on included, each once. A model whose weights are
    on this machine is measured: a forward pass of a small batch. So is one step of each method's own learner. Models that would have to
    be downloaded are not loaded; their size is given, and their seconds are the mean of the measured models'.

    Returns:
        ``rows`` (name, download_bytes, search_seconds, training_seconds: of the trainings of this model alone, error), ``trainings``
        (method, models, seconds), ``search_seconds``, ``trained`` (number of trainings) and ``seconds`` in all, one after another.
    """
    probe = _Probe(task, hub, input_size, Runtime(device_name=device))
    passes = _passes_of_search(task, strategy_for(task, strategy), len(hub), budget or len(hub))
    rows = [probe.row(card.name, passes) for card in hub]
    known = [row["search_seconds"] for row in rows if "search_seconds" in row]
    for row in rows:
        row.setdefault("search_seconds", sum(known) / len(known) if known else float("nan"))
    picks = min(budget or len(rows), len(rows))
    if method.takes_many:
        # Which models a search will pick is not known: the dearest, so that the estimate errs to one side.
        dearest = {row["name"] for row in sorted(rows, key=lambda row: -row["search_seconds"])[:picks]}
        groups = [tuple(row["name"] for row in rows if row["name"] in dearest)]
    else:
        groups = [(row["name"],) for row in rows]
    trainings, by_name = [], {row["name"]: row for row in rows}
    for wanted in every_training([Wanted(method=method, models=models) for models in groups], task):
        try:
            seconds = probe.training(wanted)
        except HubTuneError as error:
            seconds = None
            by_name[wanted.models[0]]["error"] = str(error)
        trainings.append({"method": wanted.method.name, "models": list(wanted.models), "seconds": seconds})
    _fill(trainings)
    for row in rows:
        row["training_seconds"] = 0.0
    for each in trainings:
        if len(each["models"]) == 1:
            by_name[each["models"][0]]["training_seconds"] += each["seconds"]
    if method.takes_many:
        training_seconds, trained = sum(each["seconds"] for each in trainings), len(trainings)
    else:
        training_seconds = sum(sorted((row["training_seconds"] for row in rows), reverse=True)[:picks])
        trained = picks * len(trainings) // len(rows)
    search_seconds = sum(row["search_seconds"] for row in rows) if budget else 0.0
    return {
        "rows": rows,
        "trainings": trainings,
        "search_seconds": search_seconds,
        "trained": trained,
        "seconds": search_seconds + training_seconds,
    }


def _passes_of_search(task: Task, strategy: Strategy, models: int, picks: int) -> float:
    """Forward passes of a search for one model, on average over the hub, those that steps of fine-tuning cost included."""
    images = len(task.train) + len(task.val)
    if not isinstance(strategy, Staged):
        return images
    batch, total, left, share, steps = TrainedMethod().scheduled_batch_size(task), 0.0, models, 0.0, 0
    for one in strategy.rounds(models, min(picks, models)):
        if one.steps:
            total += left * (PASSES_OF_A_STEP * (one.steps - steps) * batch + len(task.val))
            steps = one.steps
        else:
            total += left * max(0.0, one.share - share) * images
            share = max(share, one.share)
        left = min(left, one.keep)
    return total / models


def _fill(trainings: list[dict[str, Any]]) -> None:
    """Trainings that could not be measured cost as much as the method's others do on average."""
    known: dict[str, list[float]] = {}
    for each in trainings:
        if each["seconds"] is not None:
            known.setdefault(each["method"], []).append(each["seconds"])
    means = {method: sum(seconds) / len(seconds) for method, seconds in known.items()}
    for each in trainings:
        if each["seconds"] is None:
            each["seconds"] = means.get(each["method"], float("nan"))


class _Probe:
    """Measures models and learners on a few images."""

    def __init__(self, task: Task, hub: Hub, input_size: int | None, runtime: Runtime):
        self._task, self._hub, self._input_size, self._runtime = task, hub, input_size, runtime
        self._few = task.take(train=PROBE, val=PROBE, test=PROBE)
        self._forward: dict[str, float] = {}
        self._steps: dict[tuple, tuple[float, float]] = {}

    def row(self, name: str, passes: float) -> dict[str, Any]:
        """What is known of a model; no seconds where it cannot be loaded, or not without a download.

        Args:
            passes: images that a search runs through it.
        """
        row: dict[str, Any] = {"name": name, "download_bytes": self._hub.download_bytes(name), "error": None}
        try:
            if not row["download_bytes"]:
                self._forward[name] = self._measure_forward(name)
                row["search_seconds"] = self._forward[name] * passes
        except HubTuneError as error:
            row["error"] = str(error)
        return row

    def training(self, wanted: Wanted) -> float | None:
        """Seconds of one training; None where a model of it could not be measured."""
        if not all(name in self._forward for name in wanted.models):
            return None
        task, method = self._task, wanted.method
        forward = sum(self._forward[name] for name in wanted.models)
        if not isinstance(method, TrainedMethod):
            return forward * (len(task.train) + 2 * len(task.val) + len(task.test))
        images = method.scheduled_steps(task) * method.scheduled_batch_size(task)
        evaluated = (method.evaluations + 1) * len(task.val) + len(task.test)
        if method.needs(wanted.models, task):
            # What it is built on is not there yet, so its learner cannot be made: one network is trained on what all of them answer.
            dearest = max(wanted.models, key=lambda name: self._forward[name])
            step, answer = self._measured(Wanted(method=_plain(method), models=(dearest,)))
            return step * images + answer * evaluated + forward * len(task.train)
        step, answer = self._measured(wanted)
        return step * images + answer * evaluated

    def _measured(self, wanted: Wanted) -> tuple[float, float]:
        """Seconds an image of a step, and of the predictor's forward pass. Variants differ in numbers that cost nothing."""
        key = (type(wanted.method), wanted.models)
        if key not in self._steps:
            self._steps[key] = self._measure_learner(wanted)
        return self._steps[key]

    def _load(self, name: str) -> Backbone:
        return self._hub.load(name, input_size=self._hub[name].size_within(self._input_size))

    def _batch(self, canvas_size: int | None) -> Batch:
        split, rows = self._few.train, list(range(len(self._few.train)))
        device = self._runtime.device
        return Batch(split.canvas(rows, canvas_size).to(device), split.targets[rows].to(device), torch.tensor(rows))

    def _measure_forward(self, name: str) -> float:
        backbone = self._load(name)
        canvas = self._batch(self._task.canvas_size([backbone.input_size])).canvas
        backbone = backbone.to(self._runtime.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        with torch.inference_mode():
            return _seconds(lambda: backbone.embed(backbone.view(canvas))) / len(canvas)

    def _measure_learner(self, wanted: Wanted) -> tuple[float, float]:
        backbones = [self._load(name) for name in wanted.models]
        canvas_size = self._task.canvas_size([backbone.input_size for backbone in backbones])
        setting = Setting(seed=0, canvas_size=canvas_size, runtime=self._runtime)
        batch = self._batch(canvas_size)
        with torch.random.fork_rng(devices=[]):
            learner = wanted.method.learner(backbones, self._few, [], setting)
            step = _seconds(lambda: learner.step(batch, 0.5)) / len(batch)
        predictor = learner.predictor().eval()
        with torch.inference_mode():
            return step, _seconds(lambda: predictor(batch.canvas)) / len(batch)


def _plain(method: TrainedMethod) -> Method:
    from hubtune.transfer import FineTune

    return FineTune(batch_norm=method.batch_norm, head_first=False)


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
