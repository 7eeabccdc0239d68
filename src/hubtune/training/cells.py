"""Doing one cell: once, whoever needs it, and resumable alone."""

import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hubtune.errors import ModelError
from hubtune.hub import Hub
from hubtune.runs import lock, read_record, write_atomically, write_record
from hubtune.tasks import Task
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate
from hubtune.training.learner import Learner
from hubtune.training.loop import Diverged, Plan, train
from hubtune.training.method import Cell, Result, Setting
from hubtune.training.runtime import Runtime
from hubtune.training.saving import save_predictor
from hubtune.training.seeds import derive
from hubtune.training.trained_method import TrainedMethod


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
        return self.root / "cells" / cell.id

    def finished(self, cell: Cell) -> Result | None:
        """The cell's result, if it is there and whole."""
        folder = self.folder(cell)
        if not (folder / "record.json").exists():
            return None
        return Result(cell=cell, folder=folder, record=read_record(folder))


def do(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work) -> Result:
    """The result of a cell: read where it is finished, resumed where it was interrupted, else computed.

    A training that diverged is a result too: its record holds ``error`` and no metrics.

    Raises:
        ModelError: a model cannot be loaded.
        OutOfTime: the deadline has passed; the next call goes on from there.
    """
    progress_folder = work.root / "cells" / f".{cell.id}"
    with lock(progress_folder):
        result = work.finished(cell)
        if result is None:
            _compute(cell, hub, task, needs, work, progress_folder / "checkpoint.pt")
            result = work.finished(cell)
    assert result is not None
    shutil.rmtree(progress_folder, ignore_errors=True)
    return result


def _compute(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work, checkpoint: Path) -> None:
    started = time.monotonic()
    runtime = work.runtime
    backbones = [hub.load(name, input_size=hub[name].size_within(cell.input_size)) for name in cell.models]
    canvas_size = task.canvas_size([backbone.input_size for backbone in backbones])
    record = _description(cell, task, backbones)
    try:
        setting = Setting(seed=derive(cell.seed, "learner"), canvas_size=canvas_size, runtime=runtime)
        # Fresh heads are drawn from torch's global generator: it must not matter what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            learner = cell.method.learner(backbones, task, needs, setting)
        history = _train(cell, learner, task, canvas_size, work, checkpoint)
    except Diverged as error:
        if runtime.is_main:
            with write_atomically(work.folder(cell)) as folder:
                write_record(folder, record | {"error": str(error), "metrics": {}, "seconds": time.monotonic() - started})
        runtime.wait()
        return
    predictor = learner.predictor()
    val_outputs, val_metrics = evaluate(predictor, task, task.val, canvas_size, runtime)
    test_outputs, test_metrics = evaluate(predictor, task, task.test, canvas_size, runtime)
    if not torch.isfinite(test_outputs).all():
        raise ModelError(f"{', '.join(cell.models)}: outputs on the test images are not numbers; choose a smaller learning rate")
    record |= {
        "metrics": {f"val_{name}": value for name, value in val_metrics.items()}
        | {f"test_{name}": value for name, value in test_metrics.items()},
        "history": history,
        "summary": learner.summary(),
        "canvas_size": canvas_size,
        "seconds": time.monotonic() - started,
    }
    if runtime.is_main:
        with write_atomically(work.folder(cell)) as folder:
            np.savez(folder / "predictions.npz", val=val_outputs.numpy(), test=test_outputs.numpy())
            save_predictor(predictor, folder / "model", task, canvas_size)
            write_record(folder, record)
    runtime.wait()


def _train(cell: Cell, learner: Learner, task: Task, canvas_size: int | None, work: Work, checkpoint: Path) -> list[dict[str, float]]:
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
        checkpoint=checkpoint,
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
