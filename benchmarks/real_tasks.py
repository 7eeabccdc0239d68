"""Search, then tune with a budget of two, on four real tasks with a hub of ten real models.

Command:   python benchmarks/real_tasks.py FOLDER            (FOLDER holds data/ and models/; about an hour on two cores, resumable)
Writes:    benchmarks/results/real_tasks.json and .md
Setting:   every 224-pixel model at 96 x 96, the 32-pixel models at 32 x 32; all training images, fine-tuning for 100 steps of batch 32;
           "without searching" is the fine-tuning of mobilenetv2_imagenet, what one would take by habit.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import hubtune as ht

RESULTS = Path(__file__).parent / "results"
TASKS = ("eurosat", "flowers102", "gtsrb", "pacs_sketch")
HABIT = "mobilenetv2_imagenet"
PIXELS = 96
METHOD = ht.FineTune(steps=100, evaluations=2)


def one_task(hub: ht.Hub, task: ht.Task, seed: int) -> dict:
    """The search with empty and with full caches, the tune of its picks, and the tune of the habit."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HUBTUNE_CACHE"] = cache
        ranking = ht.search(hub, task, "hybrid-linear", budget=2, seed=seed, input_size=PIXELS)
        started = time.monotonic()
        again = ht.search(hub, task, "hybrid-linear", budget=2, seed=seed, input_size=PIXELS)
        repeat = time.monotonic() - started
        if again.picks.names != ranking.picks.names:
            raise SystemExit(f"{task.name}: the cached search picked {again.picks.names}, the first one {ranking.picks.names}")
        started = time.monotonic()
        run = ht.tune(task, ranking.picks, METHOD, seed=seed, input_size=PIXELS)
        tune_seconds = time.monotonic() - started
        habit = ht.tune(task, hub.subset([HABIT]), METHOD, seed=seed, input_size=PIXELS)
    return {
        "picks": list(ranking.picks.names),
        "chosen": run.record["chosen"]["models"][0],
        "test_accuracy": run.metrics["test_accuracy"],
        "interval": [run.metrics["test_accuracy_low"], run.metrics["test_accuracy_high"]],
        "each": {cell["models"][0]: cell["metrics"]["test_accuracy"] for cell in run.record["cells"]},
        "habit": habit.metrics["test_accuracy"],
        "search_seconds": ranking.seconds,
        "repeat_seconds": repeat,
        "tune_seconds": tune_seconds,
        "scores": {row["name"]: row["score"] for row in ranking.rows},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models"))
    path = RESULTS / "real_tasks.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.tasks.split(","):
        if name not in results:
            results[name] = one_task(hub, ht.Task.open(str(arguments.folder / "data" / name)), arguments.seed)
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps(results, indent=1))
            print(name, json.dumps(results[name]), flush=True)
    page = markdown(results)
    (RESULTS / "real_tasks.md").write_text(page)
    print(page)


def markdown(results: dict) -> str:
    lines = [
        "# Four real tasks, ten real models, budget 2\n",
        "| task | picks | chosen | test accuracy (95 % interval) | without searching | search s | cached repeat s | tune s |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in results.items():
        low, high = row["interval"]
        lines.append(
            f"| {name} | {', '.join(row['picks'])} | {row['chosen']} "
            f"| {100 * row['test_accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f}) | {100 * row['habit']:.1f} "
            f"| {row['search_seconds']:.0f} | {row['repeat_seconds']:.2f} | {row['tune_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
