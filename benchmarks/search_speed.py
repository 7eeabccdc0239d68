"""What a search costs beside the bare forward passes, and what a repeat and one more model cost.

Command:   python benchmarks/search_speed.py FOLDER [--images 1000]      (FOLDER holds models/ and data/; about five minutes on two cores)
Writes:    benchmarks/results/search_speed.json
Setting:   the five 224-pixel models at their own size on images of a real task, batch 64; the bare passes and the searches alternate;
           ratios of medians over rounds in one process, of CPU seconds of all threads (what other programs do beside it does not count)
           and of wall-clock seconds. The first search of a process, which loads libraries, is not counted.
Expected:  logme at most 1.10 x the bare passes, a cached repeat at most 0.05 x; linear is reported.
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

RESULTS = Path(__file__).parent / "results"


Seconds = np.ndarray
"""CPU and wall-clock."""


def now() -> Seconds:
    return np.array([time.process_time(), time.perf_counter()])


def bare(hub: ht.Hub, task: ht.Task, pixels: int | None) -> Seconds:
    """Seconds of the forward passes alone: models loaded and images decoded beforehand."""
    seconds = np.zeros(2)
    for card in hub:
        backbone = hub.load(card.name, input_size=card.size_within(pixels)).to(memory_format=torch.channels_last)
        size = task.canvas_size([backbone.input_size])
        batches = [
            backbone.view(split.canvas(range(start, min(start + 64, len(split))), size))
            for split in (task.train, task.val)
            for start in range(0, len(split), 64)
        ]
        started = now()
        with torch.inference_mode():
            for batch in batches:
                backbone.embed(batch)
        seconds += now() - started
    return seconds


def searched(hub: ht.Hub, task: ht.Task, strategy: str, pixels: int | None) -> Seconds:
    started = now()
    ht.search(hub, task, strategy, input_size=pixels)
    return now() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models")).where("input_size = 224")
    task = ht.Task.open(str(arguments.folder / "data" / "eurosat")).take(train=arguments.images * 4 // 5, val=arguments.images // 5)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HUBTUNE_CACHE"] = cache
        few = task.take(train=40, val=20)
        for strategy in ("logme", "linear"):
            searched(hub.subset(hub.names[:1]), few, strategy, arguments.pixels)
    rounds: list[dict[str, Seconds]] = []
    for _ in range(arguments.rounds):
        rounds.append(one_round(hub, task, arguments.pixels))
        print({name: value.round(2).tolist() for name, value in rounds[-1].items()}, flush=True)
        result = {"images": len(task.train) + len(task.val), "models": list(hub.names), **summary(rounds)}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "search_speed.json").write_text(json.dumps(result, indent=1))
    for name in rounds[0]:
        print(f"{name:16} {result['cpu_ratios'][name]:.3f} x the bare forward passes' CPU, {result['wall_ratios'][name]:.3f} x their time")


def one_round(hub: ht.Hub, task: ht.Task, pixels: int | None) -> dict[str, Seconds]:
    row = {"bare": bare(hub, task, pixels)}
    for strategy in ("logme", "linear"):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["HUBTUNE_CACHE"] = cache
            names = hub.names
            row[strategy] = searched(hub, task, strategy, pixels)
            row[f"{strategy} repeat"] = searched(hub, task, strategy, pixels)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HUBTUNE_CACHE"] = cache
        row["all but one"] = searched(hub.subset(names[1:]), task, "logme", pixels)
        row["that one more"] = searched(hub, task, "logme", pixels)
    return row


def summary(rounds: list[dict[str, Seconds]]) -> dict:
    median = {name: np.median([row[name] for row in rounds], axis=0) for name in rounds[0]}
    ratios = {name: value / median["bare"] for name, value in median.items()}
    return {
        "bare_seconds": dict(zip(("cpu", "wall"), median["bare"].tolist(), strict=True)),
        "cpu_ratios": {name: float(value[0]) for name, value in ratios.items()},
        "wall_ratios": {name: float(value[1]) for name, value in ratios.items()},
        "rounds": [{name: value.tolist() for name, value in row.items()} for row in rounds],
    }


if __name__ == "__main__":
    main()
