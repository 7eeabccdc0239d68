"""The regret study: every model fine-tuned on every task, every strategy, two pools; and how far predictions can be trusted.

Commands:  python benchmarks/regret_study.py                   (the embedded pool; from what regret_embedded.py and make_past_runs.py
                                                                measured, in seconds)
           python benchmarks/regret_study.py --real FOLDER     (FOLDER holds data/ and models/: ten real models at 96 x 96; many hours
                                                                on two cores; finished cells are kept, and the command goes on from there)
Writes:    benchmarks/results/regret_study.json and .md; regret_study_embedded.csv and regret_study_real.csv, of which
           `hubtune regret benchmarks/results/regret_study_real.csv --out page.html` draws Figures 3 to 7 of the paper.
Source:    Renggli et al. (2021), sections 3 to 5.
Protocol:  a cell is the median test accuracy over seeds (three on the embedded pool, one on the real one) of "fine-tune" with 100 steps;
           proxies see training and validation images only. Whatever learns from other tasks is fitted without the task at hand, penalty
           and calibration included. Realised regret needs validation accuracies, which the embedded pool's table does not hold.
Ours:      "meta-learned", named before the real pool was fine-tuned. Its proxies (knn, loo-ridge, logme) were chosen by the error of its
           predictions on embedded tasks left out, not by regret.
Tried:     mean ranks of proxies; "meta-learned" that learns from the embedded pool's runs as well; validation accuracy at half of the
           steps of fine-tuning (as many fine-tunings as models, each of half the length).
Expected:  mean relative regret of ours at B = 2 at most half of hybrid-linear's; intervals of nominal 90 % that hold 80 to 97 % of the
           cells at a mean width of at most 0.7 of the interval that the pool's other tasks alone give.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from make_past_runs import CARD, TABLE, scores
from scipy.stats import rankdata

import hubtune as ht
from hubtune.errors import HubTuneError
from hubtune.hub import ModelCard
from hubtune.proxies import PROXIES
from hubtune.selection import strategy_named
from hubtune.selection.past_runs import PastRun, cells
from hubtune.selection.predicting import NOMINAL, TaskFacts, predict
from hubtune.selection.regret import relative_delta
from hubtune.selection.regret_study import regret

RESULTS = Path(__file__).parent / "results"
REAL_TASKS = ("eurosat", "flowers102", "gtsrb", "pacs_sketch", "coil20_azimuth", "quickdraw3", "omniglot_small1", "caltech101")
OURS, RIVAL, AT = "meta-learned", "hybrid-linear", 2
BUDGETS = (1, 2, 3, 4, 5)
DRAWS = 10_000

Row = dict[str, Any]
Cells = dict[str, dict[str, PastRun]]


def embedded_rows() -> list[Row]:
    """One a model, task and seed, with every proxy."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def real_rows(folder: Path, names: list[str], pixels: int, steps: int, images: dict[str, int | None]) -> list[Row]:
    """One a model and task; each is written as soon as it is there. Models pre-trained on a task's own images are no part of its cells."""
    hub = ht.Hub.open(str(folder / "models"))
    method = ht.FineTune(steps=steps, evaluations=2)
    kept = RESULTS / "regret_study_real.json"
    found: dict[str, Row] = json.loads(kept.read_text()) if kept.exists() else {}
    setting = {"pixels": pixels, "steps": steps, **images}

    def remember(key: str, row: Row) -> None:
        found[key] = row
        kept.write_text(json.dumps(found, indent=1))

    for name in names:
        task = ht.Task.open(str(folder / "data" / name)).take(**images)
        pool = hub.subset([card.name for card in hub if name.upper().replace("CIFAR", "CIFAR-") not in card.pretraining.upper()])
        about = {"task": name, "classes": task.num_classes, "images": len(task.train)}
        if f"{name}/scores" not in found:
            remember(f"{name}/scores", scores(pool, task, input_size=pixels))
            print(f"{name}: scored {len(pool)} models", flush=True)
        for card in pool:
            key = f"{name}/{card.name}/{json.dumps(setting, sort_keys=True)}"
            if key not in found:
                try:
                    run = ht.tune(task, pool.subset([card.name]), method, seed=0, input_size=pixels)
                    outcome = {"accuracy": run.metrics["test_accuracy"], "validation": run.metrics["val_accuracy"]}
                    outcome["halfway"] = max(history[0]["val_accuracy"] for history in run.record["histories"].values())
                except HubTuneError as error:
                    outcome = {"accuracy": 1 / task.num_classes, "validation": 0.0, "halfway": 0.0, "error": str(error)}
                remember(key, {"model": card.name, **about, **outcome, **{field: getattr(card, field) for field in CARD}})
                print(f"{name} {card.name}: {outcome['accuracy']:.3f}", flush=True)
    rows = [row for key, row in found.items() if key.split("/")[0] in names and key.endswith(json.dumps(setting, sort_keys=True))]
    return [row | found[f"{row['task']}/scores"][row["model"]] for row in rows]


def past(rows: list[Row]) -> list[PastRun]:
    """The rows as runs that one learns from."""
    return [
        PastRun(
            model=row["model"],
            task=row["task"],
            accuracy=float(row["accuracy"]),
            classes=int(row["classes"]),
            train=int(row["images"]),
            scores={name: float(row[name]) for name in PROXIES if row.get(name) not in (None, "")},
            card={field: row[field] for field in CARD if row.get(field) not in (None, "")},
        )
        for row in rows
    ]


def predicted(
    runs: list[PastRun], proxies: tuple[str, ...], more: Sequence[PastRun] = ()
) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Expected accuracy and interval of every cell, from the other tasks (and more runs) alone: by task and model."""
    answers = {}
    for task in dict.fromkeys(run.task for run in runs):
        own = [cell for cell in cells(runs) if cell.task == task]
        known = {cell.model: {name: cell.scores[name] for name in proxies if name in cell.scores} for cell in own}
        facts = TaskFacts(classes=own[0].classes, train=own[0].train)
        found = predict(cells([*runs, *more], without=task), facts, [_card(cell) for cell in own], known)
        answers |= {(task, cell.model): (found.accuracy[cell.model], *found.interval[cell.model]) for cell in own}
    return answers


def _card(cell: PastRun) -> ModelCard:
    numbers = {field: int(float(cell.card[field])) for field in ("params", "flops") if field in cell.card}
    return ModelCard(**{"name": cell.model, "source": "study", "architecture": "any", "params": 0, "input_size": 1, **numbers})


def intervals(runs: list[PastRun], proxies: tuple[str, ...], more: Sequence[PastRun] = ()) -> dict[str, float]:
    """Coverage and width of the predicted intervals, and those of the interval that the pool's other tasks alone give."""
    answers, truth = predicted(runs, proxies, more), {(cell.task, cell.model): cell.accuracy for cell in cells(runs)}
    held, widths, plain_held, plain_widths, errors = [], [], [], [], []
    for (task, model), (expected, low, high) in answers.items():
        others = sorted(accuracy for (other, _), accuracy in truth.items() if other != task)
        rank = max(0, int((len(others) + 1) * (1 - NOMINAL) / 2) - 1)
        plain_low, plain_high = others[rank], others[-1 - rank]
        accuracy = truth[task, model]
        held.append(low <= accuracy <= high)
        widths.append(high - low)
        plain_held.append(plain_low <= accuracy <= plain_high)
        plain_widths.append(plain_high - plain_low)
        errors.append(abs(expected - accuracy))
    return {
        "coverage": mean(held),
        "width": mean(widths),
        "plain_coverage": mean(plain_held),
        "plain_width": mean(plain_widths),
        "ratio": mean(widths) / mean(plain_widths),
        "mean_absolute_error": mean(errors),
    }


def tried(rows: list[Row], more: Sequence[PastRun]) -> dict[str, dict[str, float]]:
    """Mean relative regret of other ways to rank, by budget."""
    runs, ours = past(rows), strategy_named(OURS).proxies
    scored = {(row["task"], row["model"]): row for row in rows}
    every = [name for name, proxy in PROXIES.items() if "features" in proxy.needs]
    columns = {f"mean rank of {', '.join(names)}": mean_ranks(rows, names) for names in (("logme", "parc", "knn"), ("linear", "knn"))}
    columns[f"mean rank of all {len(every)} proxies of features"] = mean_ranks(rows, every)
    if more:
        columns[f"{OURS}, learning from the embedded pool too"] = {key: found[0] for key, found in predicted(runs, ours, more).items()}
    if all("halfway" in row for row in rows):
        columns["validation accuracy at half of fine-tuning"] = {key: row["halfway"] for key, row in scored.items()}
    table = [
        {"model": model, "task": task, "accuracy": row["accuracy"], "params": row["params"], "seed": row.get("seed", 0)}
        | {name: values[task, model] for name, values in columns.items()}
        for (task, model), row in _medians(scored, rows).items()
    ]
    means = regret(table, budget=max(BUDGETS), scores=list(columns)).means
    return {name: {str(row["budget"]): row["relative"] for row in means if row["strategy"] == name} for name in columns}


def mean_ranks(rows: list[Row], proxies: Sequence[str]) -> dict[tuple[str, str], float]:
    """Minus the mean over proxies of a model's place on a task, by task and model."""
    answer = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        own = {row["model"]: row for row in rows if row["task"] == task}
        places = [rankdata([-float(row[name]) for row in own.values()]) for name in proxies]
        answer |= {(task, model): -float(place) for model, place in zip(own, np.mean(places, 0), strict=True)}
    return answer


def _medians(scored: dict[tuple[str, str], Row], rows: list[Row]) -> dict[tuple[str, str], Row]:
    """One row a cell, with the median accuracy over seeds."""
    accuracies = {key: [float(row["accuracy"]) for row in rows if (row["task"], row["model"]) == key] for key in scored}
    return {key: row | {"accuracy": median(accuracies[key])} for key, row in scored.items()}


def study(rows: list[Row], more: Sequence[PastRun] = ()) -> dict[str, Any]:
    """Everything that is reported of one pool.

    Args:
        more: runs on other pools, to learn from.
    """
    runs = past(rows)
    ours = strategy_named(OURS).proxies
    kept = ("model", "task", "accuracy", "seed", "classes", "images", *CARD, *PROXIES)
    table = [{name: row[name] for name in kept if row.get(name) not in (None, "")} for row in rows]
    found = regret(table, budget=max(BUDGETS), scores=[name for name in PROXIES if any(name in row for row in table)])
    sources = {"cards alone": (), **{name: (name,) for name in ("linear", "knn", "logme", "loo-ridge")}, OURS: ours}
    by_task = {(row["strategy"], row["budget"], row["task"]): row for row in found.rows}
    tasks = [entry["task"] for entry in found.pools[0]["tasks"]]
    answer: dict[str, Any] = {
        "tasks": tasks,
        "models": found.models,
        "means": found.means,
        "notes": list(found.notes),
        "intervals": {name: intervals(runs, proxies) for name, proxies in sources.items()},
        "tried": tried(rows, more),
        "against": compare([by_task[RIVAL, AT, task]["relative"] - by_task[OURS, AT, task]["relative"] for task in tasks]),
    }
    if more:
        answer["intervals"][f"{OURS}, learning from the embedded pool too"] = intervals(runs, ours, more)
    if all("validation" in row for row in rows):
        answer["realised"] = realised(rows, by_task, tasks)
    _write_table(table, "real" if "validation" in rows[0] else "embedded")
    return answer


def compare(differences: list[float]) -> dict[str, float]:
    """Mean of paired differences over tasks with the 95 % interval of a bootstrap over tasks."""
    values = np.array(differences)
    drawn = values[np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def realised(rows: list[Row], by_task: dict, tasks: list[str]) -> dict[str, dict[str, float]]:
    """Mean relative regret where, of the picks, the one with the best validation accuracy is taken."""
    cell: Callable[[str, str], Row] = lambda task, model: next(r for r in rows if r["task"] == task and r["model"] == model)  # noqa: E731
    answer: dict[str, dict[str, float]] = {}
    for strategy, budget in dict.fromkeys((strategy, budget) for strategy, budget, _ in by_task):
        regrets = []
        for task in tasks:
            picks = by_task.get((strategy, budget, task), {}).get("picks")
            if picks:
                taken = max((cell(task, model) for model in picks), key=lambda row: row["validation"])
                best = max(row["accuracy"] for row in rows if row["task"] == task)
                regrets.append(relative_delta(best, taken["accuracy"]))
        if regrets:
            answer.setdefault(strategy, {})[str(budget)] = mean(regrets)
    return answer


def _write_table(table: list[Row], pool: str) -> None:
    columns = list(dict.fromkeys(name for row in table for name in row))
    with open(RESULTS / f"regret_study_{pool}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in table)


def markdown(results: dict[str, Any]) -> str:
    """The tables of both pools."""
    lines = []
    for pool, found in results.items():
        lines += [f"# The {pool} pool: {found['models']} models, {len(found['tasks'])} tasks ({', '.join(found['tasks'])})\n"]
        lines += ["Mean relative regret, %; in brackets the share of tasks with an optimal pick, %.\n"]
        lines += ["| strategy | " + " | ".join(f"B = {b}" for b in BUDGETS) + " |", "| --- |" + " ---: |" * len(BUDGETS)]
        means = {(row["strategy"], row["budget"]): row for row in found["means"]}
        for strategy in dict.fromkeys(strategy for strategy, _ in means):
            cell = [means.get((strategy, budget)) for budget in BUDGETS]
            shown = ["" if row is None else f"{100 * row['relative']:.1f} ({100 * row['optimal']:.0f})" for row in cell]
            lines.append(f"| {'**' + strategy + '**' if strategy == OURS else strategy} | " + " | ".join(shown) + " |")
        ours, rival, gap = means[OURS, AT]["relative"], means[RIVAL, AT]["relative"], found["against"]
        lines.append(
            f"\n{OURS} (ours, named beforehand) at B = {AT}: {100 * ours:.2f} %, {RIVAL} {100 * rival:.2f} %: "
            f"{'at most half of it' if ours <= rival / 2 else 'more than half of it'}. Paired difference {100 * gap['mean']:.2f} points, "
            f"95 % interval over tasks {100 * gap['low']:.2f} to {100 * gap['high']:.2f}."
        )
        if "realised" in found:
            taken = found["realised"]
            lines.append(
                f"Picked by validation accuracy: {OURS} {100 * taken[OURS][str(AT)]:.2f} %, {RIVAL} {100 * taken[RIVAL][str(AT)]:.2f} %."
            )
        lines += ["\nTried besides, mean relative regret, %:\n"]
        lines += ["| ranked by | " + " | ".join(f"B = {b}" for b in BUDGETS) + " |", "| --- |" + " ---: |" * len(BUDGETS)]
        lines += [f"| {name} | {' | '.join(f'{100 * by[str(b)]:.1f}' for b in BUDGETS)} |" for name, by in found["tried"].items()]
        lines += ["\nIntervals of nominal 90 %, every task predicted from the others:\n"]
        lines += [
            "| predicted from | coverage, % | mean width | of the other tasks' interval | mean absolute error |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for name, row in found["intervals"].items():
            lines.append(
                f"| {name} | {100 * row['coverage']:.0f} | {row['width']:.2f} | {row['ratio']:.2f} ({row['plain_width']:.2f} wide, "
                f"{100 * row['plain_coverage']:.0f} %) | {row['mean_absolute_error']:.3f} |"
            )
        lines += ["", *(f"Note: {note}." for note in found["notes"]), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder with data/ and models/")
    parser.add_argument("--tasks", default=",".join(REAL_TASKS), help="of the real pool; at least four")
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--steps", type=int, default=100)
    for split in ("train", "val", "test"):
        parser.add_argument(f"--{split}", type=int, help=f"only the first so many {split} images of each real task")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "regret_study.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results["embedded"] = study(embedded_rows())
    if arguments.real:
        images = {split: getattr(arguments, split) for split in ("train", "val", "test")}
        results["real"] = study(
            real_rows(arguments.real, arguments.tasks.split(","), arguments.pixels, arguments.steps, images), past(embedded_rows())
        )
    path.write_text(json.dumps(results, indent=1))
    (RESULTS / "regret_study.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
