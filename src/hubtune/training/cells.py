"""Doing one cell: once, whoever needs it, and resumable alone."""

import contextlib
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hubtune.errors import ModelError, RunError
from hubtune.hub import Hub
from hubtune.runs import lock, read_record, write_atomically, write_record
from hubtune.tasks import Split, Task
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate, watched_paths
from hubtune.training.learner import Batch, Learner
from hubtune.training.loop import DamagedCheckpoint, Diverged, OutOfTime, Plan, set_aside, train
from hubtune.training.method import Cell, Result, Setting
from hubtune.training.runtime import Runtime
from hubtune.training.saving import save_pictures, save_predictor
from hubtune.training.seeds import derive
from hubtune.training.trained_method import TrainedMethod

EXAMPLES = 6
"""Validation images that a learner may show what it learnt on."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Everything a cell is done with; none of it changes the result."""

    root: Path
    """Folder of all runs; cells lie under ``cells/``."""
    runtime: Runtime = field(default_factory=Runtime)
    deadline: float | None = None
    """``time.monotonic()`` after which to stop, with a checkpoint."""
    checkpoint_seconds: float = 20.0
    on_progress: Callable[[int, int, dict[str, float]], None] = field(default=lambda step, steps, scalars: None)

    def folder(self, cell: Cell) -> Path:
        """Of a finished cell."""
        return self.root / "cells" / cell.id

    def progress_folder(self, cell: Cell) -> Path:
        """Of a cell under way: its lock, its checkpoint, how far it is."""
        return self.root / "cells" / f".{cell.id}"

    def checkpoint(self, cell: Cell) -> Path:
        return self.progress_folder(cell) / "checkpoint.pt"

    def finished(self, cell: Cell) -> Result | None:
        """The cell's result, if it is there and whole."""
        folder = self.folder(cell)
        try:
            record = read_record(folder)
        except RunError:
            return None
        whole = record.get("error") or ((folder / "predictions.npz").exists() and (folder / "model").is_dir())
        # The same weights may have had another name when they were trained.
        named = [{**card, "name": name} for card, name in zip(record.get("cards", []), cell.models, strict=False)]
        return Result(cell=cell, folder=folder, record=record | {"models": list(cell.models), "cards": named}) if whole else None


class Unfinished(OutOfTime):
    """The time limit was reached, and there is a model of the time before it."""

    def __init__(self, message: str, result: Result | None = None):
        """
        Args:
            result: its record holds ``unfinished``.
        """
        super().__init__(message)
        self.result = result


def do(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work) -> Result:
    """The result of a cell: read where it is finished, resumed where it was interrupted, else computed.

    A training that diverged is a result too: its record holds ``error`` and no metrics. Processes that torchrun started do a cell
    together; the main one locks it, measures and writes.

    Raises:
        ModelError: a model cannot be loaded.
        OutOfTime: the deadline has passed; the next call goes on from there. It is Unfinished where the training was evaluated before.
        RunError: the folder cannot be written.
    """
    runtime = work.runtime
    with lock(work.progress_folder(cell)) if runtime.is_main else contextlib.nullcontext():
        result = runtime.on_main(lambda: work.finished(cell))
        if result is None:
            _compute(cell, hub, task, needs, work)
            result = runtime.on_main(lambda: work.finished(cell))
    assert result is not None
    if runtime.is_main:
        shutil.rmtree(work.progress_folder(cell), ignore_errors=True)
    return result


def _compute(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work) -> None:
    """Train, measure and write; from the start where the checkpoint turns out to be damaged."""
    if work.runtime.on_main(lambda: work.deadline is not None and time.monotonic() > work.deadline):
        raise OutOfTime("the time limit was reached before the training began; the same command with more time goes on from there")
    try:
        _train_and_write(cell, hub, task, needs, work)
    except DamagedCheckpoint:
        work.runtime.on_main(lambda: set_aside(work.checkpoint(cell)))
        _train_and_write(cell, hub, task, needs, work)


def _train_and_write(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work) -> None:
    started, runtime = time.monotonic(), work.runtime
    backbones = [hub.load(name, input_size=hub[name].size_within(cell.input_size)) for name in cell.models]
    canvas_size = task.canvas_size([backbone.input_size for backbone in backbones])
    record = _description(cell, task, backbones)
    try:
        setting = Setting(seed=derive(cell.seed, "learner"), canvas_size=canvas_size, runtime=runtime)
        # Fresh heads are drawn from torch's global generator: it must not matter what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            learner = cell.method.learner(backbones, task, needs, setting)
        record["history"] = _train(cell, learner, task, canvas_size, work)
        runtime.on_main(lambda: _write(work.folder(cell), record, learner, task, canvas_size, runtime, started))
    except Diverged as error:
        failed = record | {"error": str(error), "metrics": {}, "seconds": time.monotonic() - started}
        runtime.on_main(lambda: _write_record(work.folder(cell), failed))
    except OutOfTime as error:
        if not error.history:
            raise
        folder = work.progress_folder(cell) / "unfinished"
        record |= {"history": error.history, "unfinished": str(error)}
        runtime.on_main(lambda: _write(folder, record, learner, task, canvas_size, runtime, started))
        raise Unfinished(str(error), Result(cell=cell, folder=folder, record=read_record(folder))) from error


def _write_record(target: Path, record: dict[str, Any]) -> None:
    with write_atomically(target) as folder:
        write_record(folder, record)


def _write(
    target: Path, record: dict[str, Any], learner: Learner, task: Task, canvas_size: int | None, runtime: Runtime, started: float
) -> None:
    """Measure a learner's predictor, and write it with its record."""
    predictor = learner.predictor()
    val_outputs, val_metrics = evaluate(predictor, task, task.val, canvas_size, runtime)
    with watched_paths(predictor) as paths:
        test_outputs, test_metrics = evaluate(predictor, task, task.test, canvas_size, runtime)
    if not torch.isfinite(test_outputs).all():
        raise ModelError("outputs on the test images are not numbers; choose a smaller learning rate")
    record |= {
        "metrics": {f"val_{name}": value for name, value in val_metrics.items()}
        | {f"test_{name}": value for name, value in test_metrics.items()},
        "summary": learner.summary(),
        "pictures": sorted(pictures := learner.pictures(_examples(task.val, canvas_size, runtime))),
        "canvas_size": canvas_size,
        "seconds": time.monotonic() - started,
    }
    with write_atomically(target) as folder:
        arrays = {"val": val_outputs, "test": test_outputs} | ({"test_path": torch.cat(paths)} if paths else {})
        np.savez(folder / "predictions.npz", **{name: array.numpy() for name, array in arrays.items()})  # pyright: ignore
        save_predictor(predictor, folder / "model", task, canvas_size)
        save_pictures(pictures, folder / "pictures")
        write_record(folder, record)


def _examples(split: Split, canvas_size: int | None, runtime: Runtime) -> Batch:
    """A few images, evenly from the whole split."""
    rows = torch.linspace(0, len(split) - 1, min(EXAMPLES, len(split))).long()
    return Batch(split.canvas(rows.tolist(), canvas_size).to(runtime.device), split.targets[rows].to(runtime.device), rows)


def _train(cell: Cell, learner: Learner, task: Task, canvas_size: int | None, work: Work) -> list[dict[str, float]]:
    method, runtime = cell.method, work.runtime
    options: dict[str, Any] = {"evaluate_every": max(learner.steps, 1), "patience": None, "keep_best": False}
    batch_size = len(task.train)
    if isinstance(method, TrainedMethod):
        batch_size = method.scheduled_batch_size(task)
        options = {
            "evaluate_every": max(1, -(-learner.steps // method.evaluations)),
            "patience": method.early_stopping,
            "keep_best": method.keep == "best",
        }
    plan = Plan(
        seed=cell.seed,
        metric=task.metric,
        checkpoint=work.checkpoint(cell),
        checkpoint_seconds=work.checkpoint_seconds,
        deadline=work.deadline,
        on_progress=work.on_progress,
        **options,
    )
    batches = Batches(
        task=task,
        split=task.train,
        canvas_size=canvas_size,
        batch_size=batch_size,
        seed=derive(cell.seed, "batches"),
        device=runtime.device,
    )
    return train(learner, batches, lambda: evaluate(learner.predictor(), task, task.val, canvas_size, runtime)[1], plan, runtime)


def _description(cell: Cell, task: Task, backbones: list) -> dict[str, Any]:
    return {
        "kind": "cell",
        "id": cell.id,
        "method": cell.method.name,
        "config": cell.method.config(),
        "models": list(cell.models),
        "cards": [backbone.card.to_dict() for backbone in backbones],
        "seed": cell.seed,
        "input_size": cell.input_size,
        "precision": cell.precision,
        "task": task.describe(),
        "environment": environment(),
    }


def environment() -> dict[str, str]:
    """What the run was done with, for its record."""
    import timm

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
    }
