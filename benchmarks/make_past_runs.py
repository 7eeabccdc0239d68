"""The table of past runs that ships with the package: fine-tuned accuracy beside proxy scores, for the embedded hub and tasks.

Command:   python benchmarks/make_past_runs.py             (minutes on two cores; the accuracies are those of regret_embedded.py)
Reads:     benchmarks/results/regret_embedded.json
Writes:    src/hubtune/selection/past_runs.csv: a row for each model, task and seed; columns model, task, seed, accuracy, what is known of
           the task (classes, training images), of the model (card fields), and a column for each proxy.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import hubtune as ht
from hubtune.proxies import PROXIES
from hubtune.selection import search

RESULTS = Path(__file__).parent / "results" / "regret_embedded.json"
TABLE = Path(__file__).parents[1] / "src" / "hubtune" / "selection" / "past_runs.csv"
CARD = ("architecture", "pretraining", "paradigm", "params", "flops", "feature_dim", "input_size")
CARD += ("upstream_accuracy", "upstream_dataset", "upstream_images", "sha256")


def scores(hub: ht.Hub, task: ht.Task, input_size: int | None = None) -> dict[str, dict[str, float]]:
    """Every proxy of every model; those that read upstream classes only where a model has some."""
    common = [name for name, proxy in PROXIES.items() if "features" in proxy.needs]
    upstream = [name for name in PROXIES if name not in common]
    found = {row["name"]: row["scores"] for row in search(hub, task, common[0], proxies=common, input_size=input_size).rows}
    heads = search(hub.where("num_classes > 0"), task, upstream[0], proxies=upstream, input_size=input_size)
    return {name: found[name] | {row["name"]: row["scores"] for row in heads.rows}.get(name, {}) for name in found}


def rows(hub: ht.Hub, name: str, raw: list[dict[str, float]]) -> list[dict[str, Any]]:
    """One for each model and seed of a task."""
    task = ht.Task.open(f"demo:{name}")
    known = scores(hub, task)
    about = {"task": task.name, "classes": task.num_classes, "images": len(task.train)}
    return [
        {"model": card.name, "seed": seed, "accuracy": round(accuracy[card.name], 5)}
        | about
        | {field: getattr(card, field) for field in CARD}
        | {proxy: f"{score:.6g}" for proxy, score in known[card.name].items()}
        for card in hub
        for seed, accuracy in enumerate(raw)
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    hub = ht.Hub.open("demo")
    table = []
    for name, raw in json.loads(RESULTS.read_text())["raw"].items():
        table += rows(hub, name, raw)
        print(f"{name}: {len(hub)} models scored", flush=True)
    columns = ["model", "task", "seed", "accuracy", "classes", "images", *CARD, *PROXIES]
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(f"{TABLE}: {len(table)} rows")


if __name__ == "__main__":
    main()
