"""What a search costs beside the bare forward passes, and what a repeat and one more model cost.

Command:   python benchmarks/search_speed.py FOLDER [--images 1000]      (FOLDER holds models/ and data/; about five minutes on two cores)
Writes:    benchmarks/results/search_speed.json
Setting:   the five 224-pixel models at their own size on images of a real task, batch 64; the bare passes and the searches alternate, three
           rounds; ratios of medians of wall-clock seconds in one process.
Expected:  logme at most 1.10 x the bare passes, a cached repeat at most 0.05 x; linear is reported.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import hubtune as ht

RESULTS = Path(__file__).parent / "results"


def bare(hub: ht.Hub, task: ht.Task, pixels: int | None) -> float:
    """Seconds of the forward passes alone: models loaded and images decoded beforehand."""
    seconds = 0.0
    for card in hub:
        backbone = hub.load(card.name, input_size=card.size_within(pixels)).to(memory_format=torch.channels_last)
        size = task.canvas_size([backbone.input_size])
        batches = [
            backbone.view(split.canvas(range(start, min(start + 64, len(split))), size))
            for split in (task.train, task.val)
            for start in range(0, len(split), 64)
        ]
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                backbone.embed(batch)
        seconds += time.perf_counter() - started
    return seconds


def searched(hub: ht.Hub, task: ht.Task, strategy: str, pixels: int | None) -> float:
    started = time.perf_counter()
    ht.search(hub, task, strategy, input_size=pixels)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models")).where("input_size = 224")
    task = ht.Task.open(str(arguments.folder / "data" / "eurosat")).take(train=arguments.images * 4 // 5, val=arguments.images // 5)
    rows = []
    for _ in range(arguments.rounds):
        row = {"bare": bare(hub, task, arguments.pixels)}
        for strategy in ("logme", "linear"):
            with tempfile.TemporaryDirectory() as cache:
                os.environ["HUBTUNE_CACHE"] = cache
                names = hub.names
                row[strategy] = searched(hub, task, strategy, arguments.pixels)
                row[f"{strategy} repeat"] = searched(hub, task, strategy, arguments.pixels)
            with tempfile.TemporaryDirectory() as cache:
                os.environ["HUBTUNE_CACHE"] = cache
                if strategy == "logme":
                    searched(hub.subset(names[1:]), task, strategy, arguments.pixels)
                    row["one more model"] = searched(hub, task, strategy, arguments.pixels)
        rows.append(row)
        print({name: round(value, 2) for name, value in row.items()}, flush=True)
    base = median(row["bare"] for row in rows)
    ratios = {name: median(row[name] for row in rows) / base for name in rows[0] if name != "bare"}
    RESULTS.mkdir(exist_ok=True)
    result = {"images": len(task.train) + len(task.val), "models": list(hub.names), "bare_seconds": base, "ratios": ratios, "rounds": rows}
    (RESULTS / "search_speed.json").write_text(json.dumps(result, indent=1))
    for name, value in ratios.items():
        print(f"{name:16} {value:.3f} x bare forward passes")


if __name__ == "__main__":
    main()
