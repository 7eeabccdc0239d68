"""Ranking large hubs, and what successive halving saves.

Command:   python benchmarks/ranking_speed.py              (minutes; --models 1000 by default; --halving runs the embedded models)
Writes:    benchmarks/results/ranking_speed.json
Setting:   (1) hubs of cards whose features are cached, D = 2048, on a task of 1000 training images in 10 classes, ranked by logme: K/8 and
           K models. Files of features are links to a few distinct ones, so that the disk holds megabytes; each is read, checked and
           scored for every model. (2) 100,000 cards ranked by task-agnostic and by meta-learned without proxies. (3) the embedded hub on
           its six tasks: halving against the full search with its proxy, leave-one-out ridge, which spends no image on validation.
Measured:  processor time of the whole call, one thread of torch.
Expected:  (1) time linear in the models (seconds a model differ by at most 20 %), below 0.2 s each; (2) below 1 s for task-agnostic;
           (3) the same top two with at most half of the forward passes, validation images counted.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import hubtune as ht
from hubtune.errors import ModelError
from hubtune.features.extract import feature_cache
from hubtune.hub.hub import Entry
from hubtune.runs import cache_folder
from hubtune.selection import search
from hubtune.selection.halving import SuccessiveHalving
from hubtune.selection.meta_learned import MetaLearned
from hubtune.tasks.rendered import EMBEDDED_TASKS

RESULTS = Path(__file__).parent / "results"
IMAGES, DIM, CLASSES, DISTINCT, CHUNK = 1000, 2048, 10, 4, 256
CARDS = 100_000


def never(card: ht.ModelCard, input_size: int | None):
    """Cached features must do: no model is loaded."""
    raise ModelError(f"{card.name} was to be loaded")


def card(number: int) -> ht.ModelCard:
    """One of as many different cards as one likes."""
    return ht.ModelCard(
        name=f"model-{number}",
        source="benchmark",
        architecture="any",
        params=1000 + number,
        flops=10**6 + number,
        input_size=32,
        feature_dim=DIM,
        upstream_accuracy=(number % 997) / 997,
        upstream_dataset="ImageNet-1k",
        upstream_images=1_281_167,
        sha256=f"{number:032x}{number:032x}",
    )


def task_of(folder: Path) -> ht.Task:
    """Noise: the images are only hashed."""
    rng = np.random.default_rng(0)
    sizes = {"train": IMAGES, "val": 2 * CLASSES, "test": 2 * CLASSES}
    arrays = {f"x_{name}": rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8) for name, size in sizes.items()}
    np.savez(folder / "noise.npz", **arrays, **{f"y_{name}": np.arange(size) % CLASSES for name, size in sizes.items()})
    return ht.Task.open(folder / "noise.npz")


def cached_hub(models: int, task: ht.Task) -> ht.Hub:
    """Models whose features are in the cache, and whose fingerprints are those of the cards."""
    keys = task.train.image_keys
    originals = []
    for number in range(DISTINCT):
        generator = torch.Generator().manual_seed(number)
        means = torch.randn(CLASSES, DIM, generator=generator)
        features = means[task.train.targets] + 3 * torch.randn(IMAGES, DIM, generator=generator)
        cache = feature_cache(f"original-{number}", None)
        for start in range(0, IMAGES, CHUNK):
            cache.write(keys[start : start + CHUNK], {"embeddings": features[start : start + CHUNK]})
        originals.append(cache.folder)
    for number in range(models):
        folder = feature_cache(card(number).sha256 or "", None).folder
        folder.mkdir(parents=True)
        for file in originals[number % DISTINCT].iterdir():
            os.link(file, folder / file.name)
    return ht.Hub(Entry(card(number), never) for number in range(models))


def processor_seconds(hub: ht.Hub, task: ht.Task, strategy, **options) -> float:
    began = time.process_time()
    search(hub, task, strategy, **options)
    return time.process_time() - began


def ranking_by_logme(models: int) -> dict[str, float]:
    """Seconds a model by size of the hub."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HUBTUNE_CACHE"] = str(Path(folder) / "cache")
        task = task_of(Path(folder))
        hub = cached_hub(models, task)
        # The hub knows a fingerprint by the hash of the weights' file; here that hash is the fingerprint.
        ht.Hub.fingerprint = lambda self, name, input_size=None: self[name].sha256
        found = {}
        for size in (models // 8, models):
            found[str(size)] = processor_seconds(hub.subset(hub.names[:size]), task, "logme", budget=2) / size
            # Each size starts without known scores.
            for path in (cache_folder() / "scores").glob("*.json"):
                path.unlink()
            print(f"logme, {size} models: {found[str(size)]:.4f} s of CPU each", flush=True)
    return found


def ranking_cards() -> dict[str, float]:
    """Seconds for 100,000 cards."""
    task, hub = ht.Task.open("demo:digits"), ht.Hub(Entry(card(number), never) for number in range(CARDS))
    found = {
        "task-agnostic": processor_seconds(hub, task, "task-agnostic", budget=2, past="none"),
        "task-agnostic with predictions": processor_seconds(hub, task, "task-agnostic", budget=2),
        "meta-learned without proxies": processor_seconds(hub, task, MetaLearned(proxies=()), budget=2),
    }
    for name, seconds in found.items():
        print(f"{CARDS} cards, {name}: {seconds:.2f} s of CPU", flush=True)
    return found


def halving() -> dict[str, dict]:
    """Forward passes of halving and of the full search with its proxy, and whether the top two agree, by task."""
    hub, found = ht.Hub.open("demo"), {}
    for name in EMBEDDED_TASKS:
        task = ht.Task.open(f"demo:{name}")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HUBTUNE_CACHE"] = folder
            halved = search(hub, task, SuccessiveHalving(), budget=2)
            full = search(hub, task, SuccessiveHalving().proxy, budget=2)
        row = {"halving": halved.forward_passes, "full": halved.forward_passes + full.forward_passes}
        row["share"] = row["halving"] / row["full"]
        row["same_top_2"] = set(halved.picks.names) == set(full.picks.names)
        found[name] = row
        print(f"halving on {name}: {row}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--halving", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "ranking_speed.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results["cards"] = ranking_cards()
    if options.halving:
        results["halving"] = halving()
    if options.models:
        results["logme_seconds_a_model"] = ranking_by_logme(options.models)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
