"""Figure 5 of the L2T-ww paper: from a TinyImageNet ResNet-32 to a VGG9 on CIFAR-10 with N training images a class.

Command:   python benchmarks/l2t_figure5.py FOLDER --counts 50,100 --epochs 200 --methods scratch,lwf,at,lwf+at,fm,l2t-ww --seeds 3
           (FOLDER holds data/cifar10 and models/checkpoints/l2tww_tinyimagenet_resnet32; days on a CPU at the paper's length, resumable:
           rows of the written file are kept, trainings are cells under HUBTUNE_RUNS, and a repeated command computes what is missing)
Writes:    benchmarks/results/l2t_figure5.json and .md
Source:    Jang et al., Learning What and Where to Transfer, 2019, Figure 5 and section 3.3.
Protocol:  the first 10 N training rows hold N images a class; crop and flip; batch 128, SGD, cosine; the best evaluation by the
           validation images. One source, all 10000 test images. Weights of lwf, at and fm are chosen by validation among --weights, each
           in a training of --sweep-epochs with seed 0; lwf+at takes those of lwf and at.
Expected:  at N = 50 and 200 epochs, per cent: scratch 39.99, lwf 43.32, at 51.76, lwf+at 53.76, l2t-ww 64.91; l2t-ww first at every N, with
           the largest lead at the smallest N. Shorter trainings lower all of them; the order is what to look for.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import hubtune as ht

RESULTS = Path(__file__).parent / "results"
SOURCE = "l2tww_tinyimagenet_resnet32"
PUBLISHED = {"scratch": 39.99, "lwf": 43.32, "at": 51.76, "lwf+at": 53.76, "l2t-ww": 64.91}
"""At N = 50, per cent."""
CLASSES, BATCH = 10, 128
MATCHED = {"lwf": ht.LwF, "at": ht.AttentionTransfer, "fm": ht.FeatureMatching}
"""Methods whose loss has a weight to choose."""


def method_of(name: str, epochs: int, count: int, weights: dict[str, tuple[float, ...]], rate: float, meta_interval: int):
    """A method with the figure's schedule."""
    steps = max(1, epochs * CLASSES * count // BATCH)
    schedule = {"steps": steps, "batch_size": BATCH, "learning_rates": (rate,), "evaluations": min(20, steps)}
    if name == "scratch":
        # Feature matching of weight zero: VGG9 from the same random weights, from labels alone.
        return ht.FeatureMatching(weights=(0.0,), **schedule)
    if name in MATCHED:
        return MATCHED[name](weights=weights[name], **schedule)
    if name == "lwf+at":
        return ht.LwFAttention(lwf_weights=weights["lwf"], at_weights=weights["at"], **schedule)
    if name in ("l2t-w", "l2t-ww"):
        return {"l2t-w": ht.L2TW, "l2t-ww": ht.L2TWW}[name](meta_interval=meta_interval, **schedule)
    raise SystemExit(f"method {name!r} is not in the figure; choose among scratch, lwf, at, lwf+at, fm, l2t-w, l2t-ww")


def swept(arguments: argparse.Namespace, hub: ht.Hub, task: ht.Task, count: int, methods: list[str]) -> dict[str, tuple[float, ...]]:
    """The weight of lwf, at and fm with the highest validation accuracy after a short training."""
    tried = {name: tuple(float(weight) for weight in arguments.weights.split(",")) for name in MATCHED}
    found = {}
    for name in MATCHED:
        if name in methods or (name != "fm" and "lwf+at" in methods):
            run = ht.tune(
                task, hub, method_of(name, arguments.sweep_epochs, count, tried, arguments.rate, 1), seed=0, workers=arguments.workers
            )
            found[name] = tuple(run.record["chosen"]["config"]["weights"])
            print(f"N = {count}: {name} with weight {found[name][0]:g}", flush=True)
    return found


def one(arguments: argparse.Namespace, hub: ht.Hub, task: ht.Task, count: int, name: str, weights: dict, seed: int) -> dict:
    method = method_of(name, arguments.epochs, count, weights, arguments.rate, arguments.meta_interval)
    run = ht.tune(task, hub, method, seed=seed, workers=arguments.workers)
    chosen = run.record["chosen"]["config"]
    return {
        "method": name,
        "test_accuracy": run.metrics["test_accuracy"],
        "val_accuracy": run.metrics["val_accuracy"],
        "weights": {key: value for key, value in chosen.items() if key.endswith("weights")},
        "seconds": run.record["seconds"],
        "run": str(run.path.name),
    }


def markdown(rows: list[dict]) -> str:
    """A table of mean and standard deviation over seeds, one row a method, one column for each N."""
    counts, methods = sorted({row["count"] for row in rows}), list(dict.fromkeys(row["method"] for row in rows))
    epochs = ", ".join(str(value) for value in sorted({row["epochs"] for row in rows}))
    lines = [
        f"# CIFAR-10 from TinyImageNet, VGG9, {epochs} epochs: test accuracy, per cent\n",
        "| method | " + " | ".join(f"N = {count}" for count in counts) + " | published, N = 50, 200 epochs |",
        "| --- |" + " ---: |" * (len(counts) + 1),
    ]
    for method in methods:
        cells = []
        for count in counts:
            found = [100 * row["test_accuracy"] for row in rows if (row["method"], row["count"]) == (method, count)]
            spread = f" ± {stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{mean(found):.1f}{spread} ({len(found)})" if found else "")
        lines.append(f"| {method} | {' | '.join(cells)} | {PUBLISHED.get(method, '')} |")
    return "\n".join(lines) + "\n\nIn brackets: seeds.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", default="50,100,250,500,1000", help="training images a class")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--methods", default="scratch,lwf,at,lwf+at,fm,l2t-ww")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="0.3,1,3,10", help="tried for lwf, at and fm")
    parser.add_argument("--sweep-epochs", type=int, default=40, help="length of the trainings that choose a weight")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--rate", type=float, default=0.1, help="first learning rate of every method")
    parser.add_argument("--meta-interval", type=int, default=1, help="of l2t-w and l2t-ww")
    parser.add_argument("--name", default="l2t_figure5", help="of the files that are written")
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models" / "checkpoints")).subset([SOURCE])
    methods = arguments.methods.split(",")
    path = RESULTS / f"{arguments.name}.json"
    RESULTS.mkdir(exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else []
    for seed in range(arguments.seeds):
        for count in (int(count) for count in arguments.counts.split(",")):
            asked = {
                "count": count,
                "seed": seed,
                "epochs": arguments.epochs,
                "rate": arguments.rate,
                "meta_interval": arguments.meta_interval,
            }
            done = {row["method"] for row in rows if asked.items() <= row.items()}
            missing = [name for name in methods if name not in done]
            task = ht.Task.open(str(arguments.folder / "data" / "cifar10"), augmentation="crop+flip").take(train=CLASSES * count)
            weights = swept(arguments, hub, task, count, missing)
            for name in missing:
                rows.append(asked | one(arguments, hub, task, count, name, weights, seed))
                print(json.dumps(rows[-1]), flush=True)
                path.write_text(json.dumps(rows, indent=1))
                path.with_suffix(".md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
