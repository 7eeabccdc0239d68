"""Made records of runs, as large as asked for, and the folders they belong to."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def made_row(index: int, random_: random.Random, failed: bool) -> dict[str, Any]:
    params = int(2e5 * 1.35**index)
    score = 0.55 + 0.4 * (1 - math.exp(-index / 8)) + random_.uniform(-0.04, 0.03)
    card = {
        "name": f"demo/cifar_resnet{8 + 6 * index}",
        "source": "demo",
        "architecture": f"cifar_resnet{8 + 6 * index}",
        "pretraining": random_.choice(["CIFAR-100", "ImageNet-1k", "shapes"]),
        "paradigm": "supervised classification",
        "params": params,
        "flops": params * 150,
        "input_size": 32,
        "feature_dim": 64,
        "num_classes": 100,
        "upstream_accuracy": random_.uniform(0.4, 0.75),
        "upstream_dataset": "CIFAR-100",
        "upstream_images": 50000,
        "license": random_.choice(["Apache-2.0", "MIT", None]),
        "provenance": "made for the tests",
        "sha256": f"{index:064x}",
    }
    row = {
        "name": card["name"],
        "score": score,
        "seconds": 0.2 + params / 4e6,
        "error": None,
        "scores": {"linear": score, "logme": -score},
        "predicted": score,
        "low": score - 0.1,
        "high": score + 0.04,
        "card": card,
    }
    if failed:
        row |= {
            "score": None,
            "scores": {},
            "predicted": None,
            "low": None,
            "high": None,
            "error": "ModelError: the weights file is truncated\n  given 12 bytes, expected 1.2 MB",
        }
    return row


def made_history(steps: int, rate: float, random_: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "progress": step / steps,
            "train_loss": 2.3 * math.exp(-step * rate) + 0.05 + random_.uniform(0, 0.05),
            "val_accuracy": 0.95 - 0.8 * math.exp(-step * rate * 1.5) + random_.uniform(-0.01, 0.01) if step % 20 == 0 else None,
            "learning_rate": 0.01 * (1 + math.cos(math.pi * step / steps)) / 2,
        }
        for step in range(0, steps + 1, 10)
    ]


def made_confusion(classes: int, random_: random.Random) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for truth in range(classes):
        for _ in range(36):
            near = (truth + random_.choice([1, 2, -1, classes // 2])) % classes
            table[truth][near if random_.random() < 0.12 else truth] += 1
    return table


def made_wrong(place: int, classes: int) -> dict[str, Any]:
    answer = {"target": place % classes, "label": (place + 3) % classes, "probability": max(0.2, 0.99 - 0.03 * place)}
    return {"image": f"wrong/{place:02d}.png", "id": f"test[{17 * place}]", **answer}


def made_record(classes: int = 10, models: int = 12, wrong: int = 12, seed: int = 0) -> dict[str, Any]:
    """A record with every part, and a few keys that no report knows."""
    random_ = random.Random(seed)
    rows = [made_row(index, random_, failed=index in (3, 7)) for index in range(models)]
    ranked = sorted((row for row in rows if row["error"] is None), key=lambda row: -row["score"])
    for rank, row in enumerate(ranked, start=1):
        row["rank"] = rank
    picks = [row["name"] for row in ranked[:2]]
    names = list(DIGITS) if classes == 10 else [f"class with a rather long name {index}" for index in range(classes)]
    rates = [(model, rate) for model in picks for rate in (0.01, 0.03)]
    cells = [
        {
            "id": f"cell{place}",
            "method": "fine-tune",
            "models": [model],
            "config": {"learning_rate": rate, "steps": 600},
            "path": f"../cells/cell{place}",
            "metrics": {"val_accuracy": 0.93 + 0.01 * place},
            "seconds": 21.5 + place,
            "chosen": place == len(rates) - 1,
        }
        for place, (model, rate) in enumerate(rates)
    ]
    histories = {cell["id"]: made_history(600, cell["config"]["learning_rate"], random_) for cell in cells}
    confusion = made_confusion(classes, random_)
    total = 36 * classes
    accuracy = sum(confusion[i][i] for i in range(classes)) / total
    config = {"learning_rate": 0.03, "steps": 600}
    return {
        "format": 1,
        "kind": "tune",
        "created": "2026-02-03T14:05:00+00:00",
        "hubtune": "0.1.0",
        "seconds": 98.4,
        "unknown": {"nobody": "reads this"},
        "request": {
            "data": "demo:digits",
            "hub": "demo",
            "where": "params < 5e6",
            "method": "fine-tune",
            "strategy": "hybrid-linear",
            "budget": 2,
            "seed": 0,
            "input_size": None,
            "config": {"steps": 600},
            "command": None,
        },
        "task": {
            "name": "digits",
            "kind": "classification",
            "source": "demo:digits",
            "num_classes": classes,
            "class_names": names,
            "sizes": {"train": 1078, "val": 359, "test": total},
            "fingerprint": "5f" * 32,
            "notes": ["3 images occur both in train and in test; they were left in train only"],
            "native_size": [8, 8],
        },
        "search": {"strategy": "hybrid-linear", "budget": 2, "seconds": 12.3, "picks": picks, "rows": rows}
        | {"expected_regret": 0.012, "notes": ["accuracies are predicted from 60 past fine-tunings"]},
        "cells": cells,
        "chosen": {"method": "fine-tune", "models": [picks[-1]], "config": config},
        "metrics": {
            "val_accuracy": 0.96,
            "test_accuracy": accuracy,
            "test_accuracy_low": accuracy - 0.03,
            "test_accuracy_high": min(1.0, accuracy + 0.02),
            "test_balanced_accuracy": accuracy - 0.01,
            "test_macro_f1": accuracy - 0.012,
            "test_loss": 0.213,
        },
        "history": histories[cells[-1]["id"]],
        "histories": histories,
        "confusion": confusion,
        "wrong": [made_wrong(place, classes) for place in range(wrong)],
        "model": {"folder": "model", "format": "timm", "license": "Apache-2.0", "files": ["config.json", "model.safetensors", "README.md"]},
        "environment": {"python": "3.11.9", "torch": "2.13.0", "timm": "1.0.31", "platform": "Linux x86_64", "device": "cpu", "cores": 2},
        "warnings": ["the validation split is small: differences below 2 points mean little"],
    }


COMPARED = ["resnet8_glyphs", "resnet8_poses", "vgg9_textures", "mobilenet_cifar100", "vit_dots"]
COMPARED_COSTS = {"fine-tune": (25e6, 0.601), "ensemble": (131e6, 0.668), "ensemble-top-k": (63e6, 0.652), "distill": (25e6, 0.64)}


def made_contestant(label: str, accuracy: float, flops: float | None, spread: float = 0.008, **more) -> dict:
    difference = {"mean": accuracy - 0.601, "low": accuracy - 0.62, "high": accuracy - 0.58}
    summary = {"mean": {"test_accuracy": accuracy}, "spread": {"test_accuracy": spread}, "flops": flops, "seconds": 130 * accuracy}
    return {"label": label, "method": label, "analysis": False, "config": {}, "difference": difference, **summary, **more}


def made_comparison() -> dict:
    rows = [made_contestant(label, accuracy, flops) for label, (flops, accuracy) in COMPARED_COSTS.items()]
    rows[0]["difference"] = None
    for k, accuracy in ((1, 0.62), (2, 0.671), (3, 0.674)):
        label = "hub-pathway" if k == 2 else f"hub-pathway k = {k}"
        rows.append(
            made_contestant(label, accuracy, 3e6 + 26e6 * k, method="hub-pathway", config={"top_k": k, "cost_weight": 0.0, "exploit": True})
        )
    failed = {"label": "soup-uniform", "method": "soup-uniform", "error": "a soup was asked of different architectures", "runs": []}
    analyses = [
        made_contestant("best-single", 0.601, 25e6, analysis=True),
        made_contestant("best-single, chosen on test", 0.607, 25e6, analysis=True),
        made_contestant("oracle", 0.79, None, analysis=True),
    ]
    return {
        "format": 1,
        "kind": "compare",
        "created": "2026-02-03T14:05:00+00:00",
        "hubtune": "0.1.0",
        "seconds": 812.0,
        "request": {"data": "demo:shapes", "hub": "demo", "methods": [*COMPARED_COSTS, "hub-pathway"], "budget": 5, "seeds": [0, 1, 2]},
        "task": {
            "name": "shapes",
            "kind": "classification",
            "class_names": ["disc", "ring", "star"],
            "sizes": {"train": 800, "test": 2000},
        },
        "comparison": {
            "reference": "fine-tune",
            "metric": "test_accuracy",
            "seeds": [0, 1, 2],
            "models": COMPARED,
            "rows": [*rows, failed, *analyses],
        },
        "paths": [
            {
                "label": label,
                "models": COMPARED,
                "weights": weights,
                "activated": [min(1.0, 2 * weight) for weight in weights],
                "quality": {"by_weight": 0.83, "at_random": 0.61, "images": 1580},
                "samples": [
                    {"image": f"paths/{i:02d}.png", "id": f"test[{i}]", "target": i % 3, "label": (i + (i == 4)) % 3}
                    | {"weights": [0.6 if j == i % 5 else 0.31 if j == (i + 1) % 5 else 0.0 for j in range(5)]}
                    for i in range(12)
                ]
                * (label == "hub-pathway"),
            }
            for label, weights in {
                "hub-pathway": [0.35, 0.3, 0.2, 0.1, 0.05],
                "hub-pathway k = 1": [0.45, 0.3, 0.15, 0.06, 0.04],
            }.items()
        ],
    }


def made_run(folder: Path, record: dict[str, Any], side: int = 8) -> Path:
    """A run's folder with the record and the images it names."""
    (folder / "wrong").mkdir(parents=True, exist_ok=True)
    random_ = random.Random(1)
    samples = [sample for path in record.get("paths") or [] for sample in path["samples"]]
    (folder / "paths").mkdir(exist_ok=True)
    for place, image in enumerate([*(record.get("wrong") or []), *samples]):
        mode, size = ("L", side * side) if place % 2 else ("RGB", 3 * side * side)
        Image.frombytes(mode, (side, side), random_.randbytes(size)).save(folder / image["image"])
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_record() -> Callable[..., dict[str, Any]]:
    return made_record


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return made_run


@pytest.fixture(scope="session")
def make_comparison() -> Callable[..., dict[str, Any]]:
    return made_comparison
