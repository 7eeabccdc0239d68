"""Every way of using five models of the embedded hub at once, beside the best of them alone.

Command:   python benchmarks/pathway_embedded.py            (hours on two cores; an interrupted run goes on where it stopped)
           python benchmarks/pathway_embedded.py --tasks digits --seeds 1 --steps 40 --methods fine-tune,hub-pathway        (minutes)
Writes:    benchmarks/results/pathway_embedded.json and .md
Source:    Shu et al. (2022), Tables 1 and 2 (methods), 4 (ablation), 5 (best single, top-k, oracle), Figure 3 (weights, k).
Setting:   the hub is the five models that hybrid-linear search picks from training and validation images; k = 2; every method tries the
           same learning rates and keeps the better by validation; steps="auto" unless --steps says otherwise.
Expected:  hub-pathway above the best single model by validation and above random paths; ensemble costs m / k times as much for each
           image; the oracle, which knows the labels, above all of them.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import hubtune as ht
from hubtune.errors import HubTuneError
from hubtune.pathway.analysis import best_single, oracle, read_rights, weight_quality
from hubtune.tasks.rendered import EMBEDDED_TASKS
from hubtune.workflow import method_named

RESULTS = Path(__file__).parent / "results"
MODELS = 5
MEMBERS = ("ensemble", "ensemble-top-k", "distill", "soup-uniform", "soup-greedy")
"""Methods built on fine-tunings of single models, whose fields they take as ``base_config``."""
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "fine-tune": ("fine-tune", {}),
    "ensemble": ("ensemble", {}),
    "ensemble (vote)": ("ensemble", {"vote": True}),
    "ensemble-top-k": ("ensemble-top-k", {"top_k": 2}),
    "distill": ("distill", {}),
    "soup-uniform": ("soup-uniform", {}),
    "soup-greedy": ("soup-greedy", {}),
    "concat-probe": ("concat-probe", {}),
    "multi-teacher": ("multi-teacher", {}),
    "aft": ("aft", {}),
    "knowledge-flow": ("knowledge-flow", {}),
    "hub-pathway": ("hub-pathway", {}),
    "hub-pathway w/o explore": ("hub-pathway", {"explore": 0.0}),
    "hub-pathway w/o exploit": ("hub-pathway", {"exploit": False}),
    "hub-pathway w/ random path": ("hub-pathway", {"random_path": True}),
    "hub-pathway k = 1": ("hub-pathway", {"top_k": 1}),
    "hub-pathway k = 3": ("hub-pathway", {"top_k": 3}),
}


def make(label: str, steps: int | None) -> ht.training.method.Method:
    """The method behind a row of the table."""
    name, config = METHODS[label]
    schedule = {} if steps is None else {"steps": steps}
    if name in MEMBERS:
        config = {**config, "base_config": schedule}
    if name not in ("ensemble", "ensemble-top-k", "soup-uniform", "soup-greedy", "concat-probe"):
        config = {**config, **schedule}
    return method_named(name, config)


def one(task: ht.Task, hub: ht.Hub, label: str, seed: int, steps: int | None) -> dict[str, Any]:
    """A row's result; soups are made of the model that does best alone by validation, since they need one start."""
    if METHODS[label][0].startswith("soup"):
        alone = ht.tune(task, hub, make("fine-tune", steps), seed=seed)
        hub = hub.subset(alone.record["chosen"]["models"])
    run = ht.tune(task, hub, make(label, steps), seed=seed)
    found = {"accuracy": run.metrics["test_accuracy"], "val_accuracy": run.metrics["val_accuracy"], "seconds": run.record["seconds"]}
    cells = [Path(cell["path"]) for cell in run.record["cells"]]
    if label == "fine-tune":
        rights = read_rights(cells, task)
        single = best_single(rights)
        found |= {"by_validation": single.by_validation, "by_test": single.by_test, "best_by_test": single.accuracy_by_test}
        found |= {"oracle": oracle(rights.test), "cells": [str(cell) for cell in cells]}
    if METHODS[label][0] == "hub-pathway":
        found |= json.loads((cells[0] / "record.json").read_text())["summary"]
        images = task.test.canvas(range(len(task.test)), None).permute(0, 2, 3, 1).numpy()
        found["path"] = ht.load(run.path).predict(images).path.tolist()
    return found


def experiment(task: ht.Task, labels: list[str], seed: int, steps: int | None, done: dict[str, Any]) -> None:
    """Fill in what is not ``done`` yet, for one task and seed."""
    whole = ht.Hub.open("demo")
    if "picks" not in done:
        done["picks"] = list(ht.search(whole, task, "hybrid-linear", budget=MODELS).picks.names)
    hub = whole.subset(done["picks"])
    rows = done.setdefault("rows", {})
    for label in labels:
        if label not in rows:
            try:
                rows[label] = one(task, hub, label, seed, steps)
            except HubTuneError as error:
                rows[label] = {"error": str(error)}
            print(f"{task.name} seed {seed} {label}: {rows[label].get('accuracy', rows[label].get('error'))}", flush=True)
            add_quality(task, rows)


def add_quality(task: ht.Task, rows: dict[str, Any]) -> None:
    """Figure 3(b) for every hub that was trained beside its single models."""
    singles = rows.get("fine-tune", {}).get("cells")
    for row in rows.values():
        if singles and "path" in row and "quality" not in row:
            rights = read_rights([Path(cell) for cell in singles], task)
            if len(rights.names) == len(row["path"][0]):
                found = weight_quality(torch.tensor(row["path"]), rights.test)
                row["quality"] = {"by_weight": found.by_weight, "at_random": found.at_random, "images": found.images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(EMBEDDED_TASKS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, help="of every training; by default the task's size decides")
    parser.add_argument("--out", type=Path, default=RESULTS / "pathway_embedded.json")
    arguments = parser.parse_args()
    names, labels = arguments.tasks.split(","), arguments.methods.split(",")
    tasks = {name: ht.Task.open(f"demo:{name}") for name in names}
    path = arguments.out
    path.parent.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(arguments.seeds):
        for name in names:
            experiment(tasks[name], labels, seed, arguments.steps, results.setdefault(name, {}).setdefault(str(seed), {}))
            path.write_text(json.dumps(results))
    page = markdown(results)
    path.with_suffix(".md").write_text(page)
    print(page)


def markdown(results: dict[str, Any]) -> str:
    """Accuracy of every method on every task, then what the paths look like."""
    tasks = list(results)
    labels = list(dict.fromkeys(label for seeds in results.values() for run in seeds.values() for label in run["rows"]))

    def values(task: str, label: str, key: str) -> list[float]:
        return [run["rows"][label][key] for run in results[task].values() if key in run["rows"].get(label, {})]

    def line(title: str, label: str, key: str) -> str:
        columns = [values(task, label, key) for task in tasks]
        cells = [f"{100 * mean(v):.1f}{f' ± {100 * stdev(v):.1f}' if len(v) > 1 else ''}" if v else "" for v in columns]
        overall = f"{100 * mean(mean(v) for v in columns):.1f}" if all(columns) else ""
        return f"| {title} | " + " | ".join(cells) + f" | {overall} |"

    head = ["| method | " + " | ".join(tasks) + " | mean |", "| --- |" + " ---: |" * (len(tasks) + 1)]
    lines = ["# Five models of the embedded hub: test accuracy (%), mean ± standard deviation over seeds\n", *head]
    lines += [line("best single, by validation" if label == "fine-tune" else label, label, "accuracy") for label in labels]
    lines += [line("best single, by test (an upper bound)", "fine-tune", "best_by_test"), line("oracle", "fine-tune", "oracle")]
    lines += [
        "\n# Images that a single model solves: accuracy of the model with the largest pathway weight, and of a random one (%)\n",
        *head,
    ]
    for title, key in (("largest weight", "by_weight"), ("random model", "at_random")):
        columns = [[run["rows"].get("hub-pathway", {}).get("quality", {}).get(key) for run in results[task].values()] for task in tasks]
        cells = [f"{100 * mean(v):.1f}" if None not in v else "" for v in columns]
        lines.append(f"| {title} | " + " | ".join(cells) + " | |")
    lines.append("\n# Mean pathway weight of each model on the validation images, seed 0\n")
    for task in tasks:
        weights = results[task].get("0", {}).get("rows", {}).get("hub-pathway", {}).get("pathway_weights", {})
        lines.append(f"- {task}: " + ", ".join(f"{name} {100 * weight:.0f} %" for name, weight in weights.items()))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
