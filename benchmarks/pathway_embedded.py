"""Every way of using several models of a hub at once, beside the best of them alone.

Command:   python benchmarks/pathway_embedded.py PART [--data FOLDER] [--tasks a,b] [--rows "hub-pathway,fine-tune"] [--seeds 3]
           python benchmarks/pathway_embedded.py main --tasks digits --seeds 1 --steps 40 --rows fine-tune,hub-pathway    (minutes)
           An interrupted run goes on where it stopped: a finished row is in the results, a finished training among the runs.
Parts:     main        five models that search picks, all methods, on the embedded tasks and, with --data, on four real ones
           ten         ten models: hub-pathway, the ensemble and the best single model
           ablations   Table 4, k = 1..5 on two tasks
           cost_aware  cost_weight on two tasks for which models of 10 to 81 MFLOPs are picked, and two with models of 20 to 24
           mobilenets  the five real MobileNets of FOLDER/models at 96 x 96 on two real tasks; zoo-tuning on the MobileNetV2s among them
Writes:    benchmarks/results/pathway_PART.json and .md
Source:    Shu et al. (2022), Tables 1 and 2 (methods), 4 (ablation), 5 (best single, top-k, oracle), Figure 3 (weights, k).
Setting:   the hub is what hybrid-linear search picks from training and validation images; k = 2; at most 1,000 training images; every
           method tries the same learning rates and keeps the better by validation; hub-pathway tries two priors with each, which are
           four trainings of k models, beside two of each of m models that fine-tune and the ensembles choose from; a random path has no
           prior: compare it with "prior = 0". steps="auto" unless --steps says otherwise.
           That 0 and 10 are the default priors was decided on the first seed of location, orientation, counting, texture, shapes, eurosat,
           gtsrb and pacs_sketch, with their test accuracies in sight; digits, flowers102 and the other seeds had no part in it.
Expected:  hub-pathway above the best single model and ensemble-top-k on average, within half a point of the full ensemble or above it at
           k / m of its cost; each ablation below hub-pathway; the oracle, which knows the labels, above all of them.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

import hubtune as ht
from hubtune.errors import HubTuneError
from hubtune.pathway.analysis import best_single, oracle
from hubtune.runs import runs_folder
from hubtune.tasks.rendered import EMBEDDED_TASKS
from hubtune.training.method import Method
from hubtune.training.runtime import Runtime
from hubtune.workflow import method_named
from hubtune.workflow.paired import paired_difference
from hubtune.workflow.paths import describe_paths
from hubtune.workflow.planning import Plan
from hubtune.workflow.rounds import Round, Watched
from hubtune.workflow.tabulating import flops_of

RESULTS = Path(__file__).parent / "results"
REAL = ("eurosat", "gtsrb", "pacs_sketch", "flowers102")
TRAIN, TEST = 1000, 2000
BUILT_ON_SINGLES = ("ensemble", "ensemble-top-k", "distill", "soup-uniform", "soup-greedy")
"""Methods whose fine-tunings of single models take their fields as ``base_config``."""
STEPLESS = ("ensemble", "ensemble-top-k", "soup-uniform", "soup-greedy", "concat-probe")
Fields = dict[str, Any]
Rows = dict[str, tuple[str, Fields]]

SINGLES: Rows = {"fine-tune": ("fine-tune", {})}
METHODS: Rows = {
    **SINGLES,
    "ensemble": ("ensemble", {}),
    "ensemble-top-k": ("ensemble-top-k", {"top_k": 2}),
    "hub-pathway": ("hub-pathway", {}),
    "ensemble (vote)": ("ensemble", {"vote": True}),
    "distill": ("distill", {}),
    "concat-probe": ("concat-probe", {}),
    "soup-uniform": ("soup-uniform", {}),
    "soup-greedy": ("soup-greedy", {}),
    "multi-teacher": ("multi-teacher", {}),
    "aft": ("aft", {}),
    "knowledge-flow": ("knowledge-flow", {}),
    "zoo-tuning": ("zoo-tuning", {}),
    "zoo-tuning-l": ("zoo-tuning-l", {}),
    "distill (hub-pathway)": ("distill", {"teacher": "hub-pathway"}),
}
ABLATIONS: Rows = {
    **SINGLES,
    "hub-pathway": ("hub-pathway", {}),
    "prior = 0": ("hub-pathway", {"prior": 0.0}),
    "prior = 10": ("hub-pathway", {"prior": 10.0}),
    "w/ random path": ("hub-pathway", {"random_path": True}),
    "w/o explore": ("hub-pathway", {"explore": 0.0}),
    "w/o exploit": ("hub-pathway", {"exploit": False}),
    **{f"k = {k}": ("hub-pathway", {"top_k": k}) for k in (1, 3, 4, 5)},
}
COSTS: Rows = {
    **SINGLES,
    "hub-pathway": ("hub-pathway", {}),
    **{f"cost_weight = {weight}": ("hub-pathway", {"cost_weight": weight}) for weight in (0.1, 0.3, 1.0)},
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows and tasks that go into one table."""

    rows: Rows
    embedded: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    budget: int | None = 5
    """Models that search picks of the embedded hub; None takes the MobileNets of FOLDER/models."""
    input_size: int | None = None


PARTS = {
    "main": Part(rows=METHODS, embedded=tuple(EMBEDDED_TASKS), real=REAL),
    "ten": Part(rows={name: METHODS[name] for name in ("fine-tune", "ensemble", "hub-pathway")}, embedded=tuple(EMBEDDED_TASKS), budget=10),
    "ablations": Part(rows=ABLATIONS, embedded=("shapes", "texture")),
    "cost_aware": Part(rows=COSTS, embedded=("digits", "orientation", "shapes", "texture")),
    "mobilenets": Part(
        rows={name: row for name, row in METHODS.items() if name not in ("concat-probe", "multi-teacher", "aft", "knowledge-flow")},
        real=("eurosat", "pacs_sketch"),
        budget=None,
        input_size=96,
    ),
}


def make(row: tuple[str, Fields], steps: int | None) -> Method:
    """The method behind a row of the table."""
    name, config = row
    schedule = {} if steps is None else {"steps": steps}
    if name in BUILT_ON_SINGLES:
        config = {**config, "base_config": schedule}
    if config.get("teacher") == "hub-pathway":
        config = {**config, "teacher_config": schedule}
    return method_named(name, config if name in STEPLESS else {**config, **schedule})


def digest(method: Method) -> str:
    """Changes with any field of the method, so that a row is measured anew when it would be another one."""
    return hashlib.sha256(json.dumps([method.name, method.config()], sort_keys=True).encode()).hexdigest()[:12]


def of_one_architecture(hub: ht.Hub) -> ht.Hub:
    """The largest part of the hub whose models share one architecture."""
    kinds = [card.architecture for card in hub]
    common = max(kinds, key=kinds.count)
    return hub.subset([card.name for card in hub if card.architecture == common])


class Bench:
    """One task and seed: rows, done one by one."""

    def __init__(self, task: ht.Task, hub: ht.Hub, seed: int, part: Part, steps: int | None, device: str | None):
        self._task, self._hub, self._seed, self._part, self._steps = task, hub, seed, part, steps
        self._runner = Watched(root=runs_folder(), runtime=Runtime(device_name=device))

    def _play(self, label: str, hub: ht.Hub) -> Round:
        plan = Plan(hub=hub, task=self._task, seed=self._seed, input_size=self._part.input_size, precision="no", runner=self._runner)
        return Round.play({label: make(self._part.rows[label], self._steps)}, plan, self._runner)

    def row(self, label: str) -> dict[str, Any]:
        """A row's numbers, or the reason that it has none."""
        hub, name = self._hub, self._part.rows[label][0]
        alone = self._play("fine-tune", hub)
        if name.startswith("soup"):  # One start: the model that does best alone by validation.
            best = alone.entries["fine-tune"].result
            hub = hub.subset(best.cell.models) if best else hub
        elif name.startswith("zoo"):
            hub = of_one_architecture(hub)
        played = alone if label == "fine-tune" else self._play(label, hub)
        entry = played.entries[label]
        if entry.result is None:
            return {"error": entry.error}
        metrics = entry.result.metrics
        found: dict[str, Any] = {
            "accuracy": metrics["test_accuracy"],
            "val_accuracy": metrics["val_accuracy"],
            "flops": flops_of(entry.result, self._task, {}),
            "seconds": entry.seconds,
            "models": list(entry.result.cell.models),
            "config": entry.result.cell.method.config().get("learning_rates"),
        }
        if label == "fine-tune" and played.rights:
            single = best_single(played.rights)
            found |= {"each": played.rights.test.double().mean(1).tolist(), "by_test": single.accuracy_by_test}
            found["oracle"] = oracle(played.rights.test)
        if paths := describe_paths(label, [entry.result], [alone.rights]):
            found["paths"] = {name: paths[name] for name in ("models", "weights", "activated", "quality")}
            found["warnings"] = entry.result.record.get("summary", {}).get("warnings", [])
        return found


def fill(
    part: Part, results: dict, tasks: dict[str, Callable[[], ht.Task]], arguments: argparse.Namespace, save: Callable[[], None]
) -> None:
    """Do what is not in the results yet; the rows that matter most come first, over all tasks."""
    wanted = [label for label in part.rows if arguments.rows is None or label in arguments.rows.split(",")]
    opened: dict[str, ht.Task] = {}
    for seed in range(arguments.seeds):
        for label in wanted:
            for name, open_task in tasks.items():
                done = results.setdefault(name, {}).setdefault(str(seed), {"rows": {}})
                asked = digest(make(part.rows[label], arguments.steps))
                if label in done["rows"] and done["rows"][label].get("asked", asked) == asked:  # rows of old do not say
                    continue
                task = opened.setdefault(name, open_task().take(train=TRAIN, test=TEST))
                if "hub" not in done:
                    done["hub"] = hub_of(part, task, arguments.data)
                hub = (ht.Hub.open("demo") if part.budget else ht.Hub.open(str(arguments.data / "models"))).subset(done["hub"])
                try:
                    found = Bench(task, hub, seed, part, arguments.steps, arguments.device).row(label)
                except HubTuneError as error:
                    found = {"error": str(error)}
                done["rows"][label] = found | {"asked": asked}
                save()
                print(f"{name} seed {seed} {label}: {found.get('accuracy', found.get('error'))}", flush=True)


def hub_of(part: Part, task: ht.Task, data: Path | None) -> list[str]:
    if part.budget:
        return list(ht.search(ht.Hub.open("demo"), task, "hybrid-linear", budget=part.budget).picks.names)
    return [card.name for card in ht.Hub.open(str(data / "models")) if card.name.startswith("mobilenet")]  # pyright: ignore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="a folder with data/ and models/, for real tasks and models")
    parser.add_argument("--tasks", help="some of the part's tasks; by default all")
    parser.add_argument("--rows", help="some of the part's rows, separated by commas; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every training; by default the task's size decides")
    parser.add_argument("--device", help="such as cpu or cuda; by default the best there is")
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/pathway_PART.json")
    arguments = parser.parse_args()
    part = PARTS[arguments.part]
    tasks: dict[str, Callable[[], ht.Task]] = {name: lambda name=name: ht.Task.open(f"demo:{name}") for name in part.embedded}
    if arguments.data:
        tasks |= {name: lambda name=name: ht.Task.open(str(arguments.data / "data" / name)) for name in part.real}
    elif not part.embedded:
        parser.error(f"{arguments.part} needs --data FOLDER")
    if arguments.tasks:
        tasks = {name: tasks[name] for name in arguments.tasks.split(",")}
    path = arguments.out or RESULTS / f"pathway_{arguments.part}.json"
    path.parent.mkdir(exist_ok=True)
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def save() -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(results))
        os.replace(temporary, path)
        path.with_suffix(".md").write_text(markdown(arguments.part, results))

    fill(part, results, tasks, arguments, save)
    save()
    print(path.with_suffix(".md").read_text())


class Table:
    """Numbers of a part by row, task and seed."""

    def __init__(self, results: dict[str, Any]):
        self.results = results
        self.tasks = [name for name, seeds in results.items() if any(run["rows"] for run in seeds.values())]
        self.labels = list(dict.fromkeys(label for seeds in results.values() for run in seeds.values() for label in run["rows"]))

    def values(self, task: str, label: str, key: str = "accuracy") -> dict[str, float]:
        """By seed."""
        runs = self.results[task].items()
        return {seed: run["rows"][label][key] for seed, run in runs if run["rows"].get(label, {}).get(key) is not None}

    def line(self, title: str, label: str, key: str = "accuracy") -> str:
        columns = [list(self.values(task, label, key).values()) for task in self.tasks]
        cells = [f"{100 * fmean(v):.1f}{f' ± {100 * stdev(v):.1f}' if len(v) > 1 else ''}" if v else "" for v in columns]
        overall = f"{100 * fmean(fmean(v) for v in columns):.1f}" if all(columns) else ""
        return f"| {title} | " + " | ".join([*cells, overall, self.cost(label) if key == "accuracy" else ""]) + " |"

    def cost(self, label: str) -> str:
        """Operations an image, in those of the mean best single model."""
        pairs = [(self.values(task, label, "flops"), self.values(task, "fine-tune", "flops")) for task in self.tasks]
        ratios = [own[seed] / single[seed] for own, single in pairs for seed in own if seed in single]
        return f"{fmean(ratios):.2f}" if ratios else ""

    def difference(self, label: str, reference: str) -> str:
        """The paired difference over the seeds and tasks that both have."""
        own = {task: self.values(task, label) for task in self.tasks}
        other = {task: self.values(task, reference) for task in self.tasks}
        seeds = sorted(set.intersection(*({seed for found in of.values() for seed in found} for of in (own, other))))
        tasks = [task for task in self.tasks if all(seed in own[task] and seed in other[task] for seed in seeds)]
        if not tasks or not seeds:
            return ""
        found = paired_difference(*(np.array([[of[task][seed] for task in tasks] for seed in seeds]) for of in (own, other)))
        interval = "" if found.low is None or found.high is None else f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
        return f"{100 * found.mean:+.1f}{interval} on {len(tasks)} tasks"


def markdown(part: str, results: dict[str, Any]) -> str:
    """Accuracy of every row on every task, paired differences, then what the paths look like."""
    table = Table(results)
    head = ["| method | " + " | ".join(table.tasks) + " | mean | cost |", "| --- |" + " ---: |" * (len(table.tasks) + 2)]
    lines = [f"# {part}: test accuracy (%), mean ± standard deviation over seeds; cost of an image in best single models\n", *head]
    lines += [table.line("best single, by validation" if label == "fine-tune" else label, label) for label in table.labels]
    lines += [
        table.line("best single, by test (an upper bound)", "fine-tune", "by_test"),
        table.line("oracle", "fine-tune", "oracle"),
        "\n# hub-pathway against the others: paired difference in points (95 % interval over seeds and tasks)\n",
        "| against | difference |",
        "| --- | ---: |",
    ]
    lines += [f"| {label} | {table.difference('hub-pathway', label)} |" for label in table.labels if label != "hub-pathway"]
    routed = [label for label in table.labels if any(table.values(task, label, "paths") for task in table.tasks)]
    lines.append("\n# Images that a single model solves: accuracy of the model of the largest weight / of a random one (%)\n")
    lines += ["| paths of | " + " | ".join(table.tasks) + " |", "| --- |" + " ---: |" * len(table.tasks)]
    for label in routed:
        qualities = [[p["quality"] for p in table.values(task, label, "paths").values() if p["quality"]] for task in table.tasks]
        cells = [
            " / ".join(f"{100 * fmean(q[key] for q in of):.1f}" for key in ("by_weight", "at_random")) if of else "" for of in qualities
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append("\n# Mean path weight of each model on the test images, seed 0, hub-pathway\n")
    for task in table.tasks:
        if paths := table.values(task, "hub-pathway", "paths").get("0"):
            lines.append(f"- {task}: " + ", ".join(f"{n} {100 * w:.0f} %" for n, w in zip(paths["models"], paths["weights"], strict=True)))
    errors = [f"- {t}, {label}: {run['rows'][label]['error']}" for t in table.tasks for run in results[t].values() for label in run["rows"]
              if run["rows"][label].get("error")]  # fmt: skip
    return "\n".join([*lines, *(["\n# Rows without a number\n", *dict.fromkeys(errors)] if errors else [])]) + "\n"


if __name__ == "__main__":
    main()
