"""The landmark experiment on drawn faces: every single model of a hub, what several of them do together, and Hub-Pathway.

Command:   python benchmarks/landmarks_embedded.py [--seeds 3] [--steps 1500] [--rows ensemble,hub-pathway] [--models a,b,c]
           python benchmarks/landmarks_embedded.py --seeds 1 --steps 4 --train 32 --test 40 --out /tmp/smoke.json    (a minute)
           An interrupted run goes on where it stopped: a finished row is in the results, a finished training among the runs.
Writes:    benchmarks/results/landmarks_embedded.json and .md
Source:    Shu et al. (2022), Table 3 (NME on 300W, WFLW, COFW; smaller is better).
Setting:   ``demo:faces``, 800 / 200 / 1000 faces, five models of the embedded hub at 32 x 32, heatmaps of 32 x 32; every method has the
           same steps of batch 16, AdamW without decay and the learning rate divided by 10 at half and five sixths (the paper's Adam
           schedule), 0.001 and 0.0003 tried, the better kept by validation (the smaller one with BatchNorm's statistics kept, but
           for scratch and zoo-tuning). Scratch has the first model's architecture; zoo-tuning takes the models that share the most
           common one. Of hub-pathway's steps the first tenth is the trial of the models, each alone.
Cost:      about one hour of CPU a seed on one core (92, 32, 48, 60 and 62 ms a step of the five models alone).
Expected:  hub-pathway below every single model, and within 3 % of the ensemble's NME or below it, for less than its cost.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

import hubtune as ht
from hubtune.errors import HubTuneError
from hubtune.training.flops import flops
from hubtune.training.method import Method
from hubtune.workflow import Run, method_named

OUT = Path(__file__).parent / "results" / "landmarks_embedded.json"
MODELS = ("resnet20_cifar100", "vgg9_cifar100", "mobilenet_cifar100", "resnet14_rotation", "resnet14_animals")
METRICS = ("nme", "failure_8", "failure_10", "auc_10")
TOGETHER = ("ensemble", "ensemble-top-k", "distill", "knowledge-flow", "zoo-tuning", "hub-pathway", "hub-pathway w/ random path")


def method_of(row: str, schedule: dict[str, Any]) -> Method:
    """The method behind a row of the table."""
    if row in ("ensemble", "ensemble-top-k"):
        return method_named(row, {"base_config": schedule})
    if row == "distill":
        return method_named("distill", {**schedule, "base_config": schedule})
    if row.startswith("hub-pathway"):
        return method_named("hub-pathway", {**schedule, "random_path": "random" in row})
    return method_named(row.partition(":")[0], schedule)


def models_of(row: str, hub: ht.Hub) -> ht.Hub:
    """The part of the hub that a row is of."""
    name, _, model = row.partition(":")
    if model:
        return hub.subset([model])
    if name == "scratch":
        return hub.subset(list(hub.names[:1]))
    if name == "zoo-tuning":
        kinds = [card.architecture for card in hub]
        return hub.subset([card.name for card in hub if card.architecture == max(kinds, key=kinds.count)])
    return hub


def measure(task: ht.Task, hub: ht.Hub, row: str, seed: int, schedule: dict[str, Any]) -> dict[str, Any]:
    """One row with one seed: its scores on the test faces, its cost for one face, its time; or why it has none."""
    found: dict[str, Any] = {"row": row, "seed": seed, "steps": schedule["steps"]}
    try:
        run = ht.tune(task, models_of(row, hub), method=method_of(row, schedule), seed=seed, workers=1)
    except HubTuneError as error:
        return found | {"error": str(error)}
    cost = flops_of_run(run, task)
    scores = {name: run.metrics[f"test_{name}"] for name in METRICS}
    return found | scores | {"flops": cost, "seconds": sum(cell["seconds"] for cell in run.record["cells"]), "run": run.path.name}


def flops_of_run(run: Run, task: ht.Task) -> float:
    """Operations of one face."""
    rows = torch.linspace(0, len(task.test) - 1, min(64, len(task.test))).long().tolist()
    size = json.loads((run.path / "model" / "hubtune.json").read_text())["canvas"]
    canvas = task.test.canvas(rows, size if isinstance(size, int) else size[0])
    return flops(ht.load(run.path).predictor.eval(), canvas) / len(rows)


def table(results: list[dict[str, Any]], asked: dict[str, Any], rows: list[str]) -> str:
    """Means and standard deviations over the seeds, in percent, as Markdown; of what was measured as it is asked now."""
    results = [result for result in results if all(result.get(name) == value for name, value in asked.items())]
    lines = ["| method | NME | failures at 8 % | failures at 10 % | AUC at 10 % | MFLOPs a face | seeds |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        found = [result for result in results if result["row"] == row and "nme" in result]
        if not found:
            continue
        cells = []
        for name in METRICS:
            values = [100 * result[name] for result in found]
            cells.append(f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else ""))
        lines.append(f"| {row} | {' | '.join(cells)} | {fmean(r['flops'] for r in found) / 1e6:.1f} | {len(found)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", default=None, help="of the table; by default all")
    parser.add_argument("--train", type=int, default=None)
    parser.add_argument("--test", type=int, default=None)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    task = ht.Task.open("demo:faces").take(train=options.train, test=options.test)
    hub = ht.Hub.open("demo").subset(options.models.split(","))
    rows = ["scratch", *(f"fine-tune:{name}" for name in hub.names), *TOGETHER]
    chosen = rows if options.rows is None else options.rows.split(",")
    schedule = {"steps": options.steps, "batch_size": 16, "weight_decay": 0.0, "schedule": "late-step", "warmup": 0.0}
    schedule |= {"learning_rates": [0.001, 0.0003]}
    results = json.loads(options.out.read_text()) if options.out.exists() else []
    asked = {"steps": options.steps, "train": len(task.train), "test": len(task.test), "hub": list(hub.names)}
    for seed in range(options.seeds):
        for row in chosen:
            key = {"row": row, "seed": seed, **asked}
            results = [found for found in results if "nme" in found or any(found.get(name) != value for name, value in key.items())]
            if any(all(found.get(name) == value for name, value in key.items()) for found in results):
                continue
            results.append(key | measure(task, hub, row, seed, schedule))
            options.out.parent.mkdir(exist_ok=True)
            temporary = options.out.with_suffix(".tmp")
            temporary.write_text(json.dumps(results, indent=1))
            temporary.replace(options.out)
            options.out.with_suffix(".md").write_text(table(results, asked, rows))
            print(json.dumps(results[-1]), flush=True)
    print(table(results, asked, rows))


if __name__ == "__main__":
    main()
