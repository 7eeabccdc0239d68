"""A hub in which the right path is known: each model understands one kind of image, and nothing of the others.

Command:   OMP_NUM_THREADS=1 python benchmarks/pathway_separable.py            (five minutes)
Writes:    benchmarks/results/pathway_separable.json and .md
Setting:   five models without weights of their own; images of five domains (their redness) and five classes (their greenness); a model
           sees the class in images of its own domain only. k = 1, 1,000 steps of batch 32. A biased start gives the first model 95 % of the
           weight before the first step.
Source:    Shu et al. (2022), section 3.1: without exploration a hub may collapse onto a few models.
Expected:  learnt paths within 2 points of the oracle, which is always right; random paths at a fifth and a fifth of the rest (36 %);
           from the biased start the same with exploration, and a collapse without.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn

import hubtune as ht
from hubtune.hub import Backbone, ModelCard
from hubtune.hub.backbone import Preprocessing
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate
from hubtune.training.loop import Plan, train
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime

RESULTS = Path(__file__).parent / "results"
SIDE, DOMAINS, CLASSES = 8, 5, 5
SIZES = {"train": 600, "val": 200, "test": 1000}
QUICK = {
    "top_k": 1,
    "steps": 1000,
    "batch_size": 32,
    "learning_rates": (0.01,),
    "head_first": False,
    "generator_size": 8,
    "generator_width": 8,
}
ROWS: dict[str, tuple[dict[str, Any], bool]] = {
    "learnt paths": ({}, False),
    "random paths": ({"random_path": True}, False),
    "biased start": ({}, True),
    "biased start, w/o explore": ({"explore": 0.0}, True),
    "biased start, explore = 1": ({"explore": 1.0}, True),
}


class Expert(Backbone):
    """The one-hot class of images of its own domain, zeros for the others."""

    def __init__(self, domain: int):
        card = ModelCard(name=f"expert-{domain}", source="made", architecture="expert", params=0, input_size=SIDE, feature_dim=CLASSES)
        super().__init__(nn.Identity(), card, Preprocessing(input_size=SIDE, mean=(0, 0, 0), std=(1, 1, 1)), CLASSES)
        self.domain = domain

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        red, green = x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2))
        own = (red * DOMAINS).floor() == self.domain
        return own[:, None] * 4.0 * nn.functional.one_hot((green * CLASSES).floor().long().clamp(0, CLASSES - 1), CLASSES).float()

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]

    @property
    def map_names(self) -> tuple[str, ...]:
        return ("input",)

    def _identity(self) -> dict[str, Any]:
        return {"kind": "made", "domain": self.domain}


def images(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy fields: redness says the domain, greenness the class."""
    domain, label = np.arange(count) % DOMAINS, generator.integers(CLASSES, size=count)
    canvas = generator.integers(0, 256, (count, SIDE, SIDE, 3))
    for channel, level, levels in ((0, domain, DOMAINS), (1, label, CLASSES)):
        noise = generator.integers(-15, 16, (count, SIDE, SIDE))
        canvas[..., channel] = np.clip(((level + 0.5) / levels * 255)[:, None, None] + noise, 0, 255)
    return canvas.astype(np.uint8), label


def made_task(folder: Path) -> ht.Task:
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in SIZES.items():
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images(count, generator)
    np.savez(folder / "separable.npz", **arrays)
    return ht.Task.open(folder / "separable.npz")


def one(task: ht.Task, options: dict[str, Any], biased: bool, seed: int) -> dict[str, float]:
    """Accuracy, and the largest mean weight of a model on the validation images."""
    setting = Setting(seed=seed, canvas_size=None, runtime=Runtime(device_name="cpu"))
    torch.manual_seed(seed)
    learner = ht.HubPathway(**{**QUICK, **options}).learner([Expert(domain) for domain in range(DOMAINS)], task, [], setting)
    if biased:
        with torch.no_grad():
            learner.predictor().generator.preferred.bias[0] = math.log(0.95 / (0.05 / (DOMAINS - 1)))  # pyright: ignore
    batches = Batches(task=task, split=task.train, canvas_size=None, batch_size=32, seed=seed)
    plan = Plan(seed=seed, evaluate_every=QUICK["steps"])
    train(learner, batches, lambda: evaluate(learner.predictor(), task, task.val, None, setting.runtime)[1], plan, setting.runtime)
    accuracy = evaluate(learner.predictor(), task, task.test, None, setting.runtime)[1]["accuracy"]
    return {"accuracy": accuracy, "largest": max(learner.summary()["pathway_weights"].values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    path = RESULTS / "pathway_separable.json"
    results: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        task = made_task(Path(folder))
        for seed in range(arguments.seeds):
            for label, (options, biased) in ROWS.items():
                row = results.setdefault(label, {})
                if str(seed) not in row:
                    row[str(seed)] = one(task, options, biased, seed)
                    path.write_text(json.dumps(results, indent=1))
                    print(label, seed, row[str(seed)], flush=True)
    lines = ["# A separable hub: five experts, one path for each image; the oracle is always right\n"]
    lines += ["| paths | test accuracy (%) | largest mean weight of a model (%) |", "| --- | ---: | ---: |"]
    for label, seeds in results.items():
        cells = [[row[key] for row in seeds.values()] for key in ("accuracy", "largest")]
        shown = [f"{100 * fmean(v):.1f}" + (f" ± {100 * stdev(v):.1f}" if len(v) > 1 else "") for v in cells]
        lines.append(f"| {label} | {shown[0]} | {shown[1]} |")
    page = "\n".join(lines) + "\n"
    path.with_suffix(".md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
