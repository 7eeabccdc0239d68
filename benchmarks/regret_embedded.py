"""Regret of every search strategy on the embedded hub: each model fine-tuned on each embedded task, three seeds.

Command:   python benchmarks/regret_embedded.py            (about an hour on two cores; an interrupted run goes on where it stopped)
Writes:    benchmarks/results/regret_embedded.json and .md
Source:    Renggli et al. (2021), Equations 1 and 2; their Figures 3 to 6 show the same quantities for 46 models and 19 tasks.
Protocol:  "fine-tune" with 100 steps and its other fields at their defaults: a linear head on frozen features, then AdamW at two rates, the
           better one by validation accuracy. The accuracy of a (model, task) cell is the median over seeds of the test accuracy; a
           strategy's picks are made from training and validation images only; random is its exact expectation.
Expected:  no model is the best on more than half of the tasks, and the best fixed model lies at least 2 points under the per-task
           best on average: otherwise there would be nothing to search for.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, median

import hubtune as ht
from hubtune.selection import search
from hubtune.selection.regret import absolute_regret, expected_random_regret, relative_regret
from hubtune.tasks.rendered import EMBEDDED_TASKS

RESULTS = Path(__file__).parent / "results"
STRATEGIES = ("task-agnostic", "linear", "knn", "hybrid-linear", "hybrid-knn", "logme")
BUDGETS = (1, 2, 3)
METHOD = ht.FineTune(steps=100, evaluations=2)


def accuracies(hub: ht.Hub, task: ht.Task, seed: int) -> dict[str, float]:
    """Fine-tuned test accuracy of every model; a model that could not be trained counts as chance."""
    run = ht.tune(task, hub, METHOD, seed=seed)
    found = {cell["models"][0]: cell["metrics"]["test_accuracy"] for cell in run.record["cells"]}
    return {name: found.get(name, 1 / task.num_classes) for name in hub.names}


def regrets(hub: ht.Hub, task: ht.Task, table: dict[str, float]) -> dict[str, dict[int, tuple[float, float]]]:
    """Absolute and relative regret of each strategy at each budget."""
    rows = {
        name: {
            budget: (absolute_regret(table, picks), relative_regret(table, picks))
            for budget in BUDGETS
            for picks in [search(hub, task, name, budget=budget).picks.names]
        }
        for name in STRATEGIES
    }
    return rows | {"random": {budget: expected_random_regret(table, budget) for budget in BUDGETS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(EMBEDDED_TASKS))
    arguments = parser.parse_args()
    hub = ht.Hub.open("demo")
    names = arguments.tasks.split(",")
    tasks = {name: ht.Task.open(f"demo:{name}") for name in names}
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(arguments.seeds):
        for name in names:
            raw[name].append(accuracies(hub, tasks[name], seed))
            print(f"seed {seed} {name}: best {max(raw[name][-1], key=raw[name][-1].get)} {max(raw[name][-1].values()):.3f}", flush=True)
    table = {name: {model: median(row[model] for row in rows) for model in hub.names} for name, rows in raw.items()}
    regret = {name: regrets(hub, tasks[name], table[name]) for name in names}
    result = {"seeds": arguments.seeds, "accuracy": table, "raw": raw, "regret": regret}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "regret_embedded.json").write_text(json.dumps(result, indent=1))
    page = markdown(hub, table, regret, arguments.seeds)
    (RESULTS / "regret_embedded.md").write_text(page)
    print(page)


def markdown(hub: ht.Hub, table: dict, regret: dict, seeds: int) -> str:
    """The tables, and the two facts that make the hub worth searching."""
    tasks = list(table)
    best = {task: max(table[task], key=table[task].get) for task in tasks}
    fixed = {model: mean(table[task][model] for task in tasks) for model in hub.names}
    champion = max(fixed, key=fixed.get)
    gap = mean(table[task][best[task]] for task in tasks) - fixed[champion]
    wins = max(list(best.values()).count(model) for model in hub.names)
    lines = [f"# Embedded hub: fine-tuned test accuracy (%), median of {seeds} seeds\n"]
    lines += ["| model | " + " | ".join(tasks) + " | mean |", "| --- |" + " ---: |" * (len(tasks) + 1)]
    for model in sorted(hub.names, key=lambda model: -fixed[model]):
        cells = [
            f"{'**' if best[task] == model else ''}{100 * table[task][model]:.1f}{'**' if best[task] == model else ''}" for task in tasks
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + f" | {100 * fixed[model]:.1f} |")
    lines.append(f"\nBest fixed model: {champion}, {100 * gap:.1f} points under the per-task best on average (at least 2 wanted).")
    lines.append(f"Most wins of one model: {wins} of {len(tasks)} tasks (at most half wanted).\n")
    lines += ["# Mean regret over the tasks (absolute in points / relative in %)\n"]
    lines += ["| strategy | " + " | ".join(f"B = {budget}" for budget in BUDGETS) + " |", "| --- |" + " ---: |" * len(BUDGETS)]
    for strategy in (*STRATEGIES, "random"):
        cells = []
        for budget in BUDGETS:
            pairs = [regret[task][strategy][budget] for task in tasks]
            cells.append(f"{100 * mean(a for a, _ in pairs):.1f} / {100 * mean(r for _, r in pairs):.1f}")
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
