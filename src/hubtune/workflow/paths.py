"""Which models the images of a task pass through: what the record of a routed run says of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from hubtune.errors import ConfigurationError
from hubtune.pathway.analysis import Rights, read_rights, weight_quality
from hubtune.tasks import Task
from hubtune.training.method import Method, Result
from hubtune.training.trained_method import PretrainedMethod
from hubtune.workflow.methods import method_named
from hubtune.workflow.planning import Plan, Wanted

SAMPLES = 12
"""Images that are shown with their weights."""
SAMPLE_PIXELS = 160


def path_of(result: Result) -> np.ndarray | None:
    """Path weights (N, m) of the test images; None where there are no paths."""
    with np.load(result.folder / "predictions.npz") as predictions:
        return predictions.get("test_path")


def describe_paths(label: str, results: Sequence[Result], rights: Sequence[Rights | None]) -> dict[str, Any] | None:
    """Mean weights, activations and quality of the paths of one method over seeds; None where there are no paths.

    Args:
        label: of the method.
        results: one a seed.
        rights: which test images the same models, fine-tuned alone with that seed, classify rightly; None where it is not known.
    """
    paths = [path for result in results if (path := path_of(result)) is not None]
    if not paths:
        return None
    models = list(results[0].cell.models)
    found = [quality for path, right in zip(paths, rights, strict=True) if right and (quality := _quality(path, models, right))]
    return {
        "label": label,
        "models": models,
        "weights": np.mean([path.mean(0) for path in paths], 0).tolist(),
        "activated": np.mean([(path > 0).mean(0) for path in paths], 0).tolist(),
        "quality": {name: fmean(quality[name] for quality in found) for name in found[0]} if found else None,
    }


def _quality(path: np.ndarray, models: Sequence[str], rights: Rights) -> dict[str, float] | None:
    if set(models) - set(rights.names):
        return None
    correct = rights.test[[rights.names.index(name) for name in models]]
    try:
        quality = weight_quality(torch.from_numpy(path), correct)
    except ConfigurationError:
        return None
    return {"by_weight": quality.by_weight, "at_random": quality.at_random, "images": quality.images}


def known_rights(plan: Plan, method: Method) -> Rights | None:
    """Which test images the hub's models get right alone, where their fine-tunings by a method's schedule are finished already."""
    if plan.task.kind != "classification" or not isinstance(method, PretrainedMethod):
        return None
    schedule = {field.name for field in dataclasses.fields(PretrainedMethod)}
    alone = method_named("fine-tune", {name: value for name, value in method.config().items() if name in schedule})
    results = [plan.known(Wanted(method=alone, models=(name,))) for name in plan.hub.names]
    folders = [result.folder for result in results if result]
    return read_rights(folders, plan.task) if len(folders) == len(results) else None


def write_samples(result: Result, task: Task, folder: Path) -> list[dict[str, Any]]:
    """Write some test images under ``folder/paths`` and say which path each takes: of each model in turn those that give it most weight."""
    path = path_of(result)
    if path is None:
        return []
    with np.load(result.folder / "predictions.npz") as predictions:
        labels = predictions["test"].argmax(1)
    classes = task.kind == "classification"
    (folder / "paths").mkdir()
    size = None if task.native_size and max(task.native_size) <= SAMPLE_PIXELS else SAMPLE_PIXELS
    samples = []
    for number, row in enumerate(_rows(path)):
        name = f"paths/{number:02d}.png"
        Image.fromarray(task.test.canvas([row], size)[0].permute(1, 2, 0).numpy()).save(folder / name)
        answer = {"target": int(task.test.targets[row]), "label": int(labels[row])} if classes else {}
        samples.append({"image": name, "id": task.test.ids[row], "weights": path[row].tolist(), **answer})
    return samples


def _rows(path: np.ndarray) -> list[int]:
    """Up to SAMPLES different rows: turn by turn, the next one of those in which a model has its largest weight."""
    leading = path.argmax(1)
    queues = [sorted(np.flatnonzero(leading == i).tolist(), key=lambda row, i=i: -path[row, i]) for i in range(path.shape[1])]
    turns = [row for turn in range(SAMPLES) for queue in queues for row in queue[turn : turn + 1]]
    return sorted(turns[:SAMPLES], key=lambda row: (leading[row], -path[row].max()))
