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
        "card": card,
    }
    if failed:
        row |= {"score": None, "scores": {}, "error": "ModelError: the weights file is truncated\n  given 12 bytes, expected 1.2 MB"}
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
        "search": {"strategy": "hybrid-linear", "budget": 2, "seconds": 12.3, "picks": picks, "rows": rows},
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


def made_run(folder: Path, record: dict[str, Any], side: int = 8) -> Path:
    """A run's folder with the record and the images it names."""
    (folder / "wrong").mkdir(parents=True, exist_ok=True)
    random_ = random.Random(1)
    for place, image in enumerate(record.get("wrong") or []):
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
