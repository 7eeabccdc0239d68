"""A run's folder: what was asked, what came out, the model, and the report."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hubtune import report
from hubtune.landmarks import Landmarks
from hubtune.landmarks.drawing import describe
from hubtune.pathway.analysis import Rights
from hubtune.runs import write_atomically, write_record
from hubtune.tasks import Task
from hubtune.tasks.classification import accuracy_interval
from hubtune.training.method import Result
from hubtune.workflow.paths import describe_paths, write_samples

WRONG_SHOWN = 24
WRONG_PIXELS = 160
"""Largest side of the pictures of wrong predictions."""


def write_run(
    folder: Path,
    record: dict[str, Any],
    results: Sequence[Result],
    best: Result,
    task: Task,
    started: float,
    rights: Rights | None = None,
) -> None:
    """Write a run around its best cell.

    Args:
        record: what is known before the outcome.
        results: one a model or group of models.
        best: the one whose model is handed over.
        started: ``time.monotonic()`` of the run's beginning.
        rights: which test images the models of the best cell, each trained alone, classify rightly; None where it is not known.

    Raises:
        RunError: the folder cannot be written.
    """
    outputs = torch.from_numpy(np.load(best.folder / "predictions.npz")["test"])
    with write_atomically(folder) as target:
        shutil.copytree(best.folder / "model", target / "model")
        shutil.copy(best.folder / "predictions.npz", target)
        if best.record.get("pictures"):
            shutil.copytree(best.folder / "pictures", target / "pictures")
        record = record | {
            "chosen": {"method": best.record["method"], "models": best.record["models"], "config": best.record["config"]},
            "cells": [_cell(result, result is best) for result in results],
            "metrics": best.metrics | _interval(best.metrics, len(task.test)),
            "history": best.record["history"],
            "histories": {result.cell.id: result.record["history"] for result in results},
            "model": _model(best, target / "model"),
            "summary": best.record.get("summary", {}),
            "pictures": best.record.get("pictures", []),
            **_mistakes(task, outputs, target),
            "landmarks": describe(task, outputs, target) if isinstance(task, Landmarks) else None,
            "paths": _paths(best, rights, task, target),
            "seconds": time.monotonic() - started,
        }
        write_record(target, record)
        (target / "model" / "README.md").write_text(report.model_card(record), encoding="utf-8")
        report.write(target, folder.absolute())


def _interval(metrics: dict[str, float], images: int) -> dict[str, float]:
    """The 95 % interval of the test accuracy, where the task has one."""
    if "test_accuracy" not in metrics:
        return {}
    low, high = accuracy_interval(round(metrics["test_accuracy"] * images), images)
    return {"test_accuracy_low": low, "test_accuracy_high": high}


def _cell(result: Result, chosen: bool) -> dict[str, Any]:
    kept = ("id", "method", "models", "config", "metrics", "seconds")
    return {name: result.record[name] for name in kept} | {"path": str(result.folder), "chosen": chosen}


def _model(best: Result, folder: Path) -> dict[str, Any]:
    licenses = sorted({card["license"] or "unknown" for card in best.record["cards"]})
    return {
        "folder": "model",
        "format": "timm" if (folder / "config.json").exists() else "hubtune",
        "license": ", ".join(licenses),
        "files": sorted(path.name for path in folder.iterdir()),
    }


def _paths(best: Result, rights: Rights | None, task: Task, folder: Path) -> list[dict[str, Any]]:
    """Where the test images pass through several models: which, how well the paths are chosen, and some images with theirs."""
    described = describe_paths(best.record["method"], [best], [rights])
    return [described | {"samples": write_samples(best, task, folder)}] if described else []


def _mistakes(task: Task, outputs: torch.Tensor, folder: Path) -> dict[str, Any]:
    """Confusion matrix and the most confidently wrong test images, for tasks whose outputs are class logits."""
    if task.kind != "classification":
        return {}
    probabilities = outputs.softmax(1)
    confidence, labels = probabilities.max(1)
    targets = task.test.targets
    classes = outputs.shape[1]
    confusion = torch.bincount(targets * classes + labels, minlength=classes**2).reshape(classes, classes)
    wrong = (labels != targets).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:WRONG_SHOWN].tolist()
    (folder / "wrong").mkdir()
    entries = []
    size = None if task.native_size and max(task.native_size) <= WRONG_PIXELS else WRONG_PIXELS
    for number, row in enumerate(worst):
        name = f"wrong/{number:02d}.png"
        Image.fromarray(task.test.canvas([row], size)[0].permute(1, 2, 0).numpy()).save(folder / name)
        entries.append(
            {
                "image": name,
                "id": task.test.ids[row],
                "target": int(targets[row]),
                "label": int(labels[row]),
                "probability": float(confidence[row]),
            }
        )
    return {"confusion": confusion.tolist(), "wrong": entries}
