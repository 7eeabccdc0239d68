"""L2T-ww between networks that the authors' code cannot pair: families without a list of pairs there.

Command:   python benchmarks/l2t_any_pair.py FOLDER --source convnext_things --task eurosat --epochs 30 --seeds 3
           (FOLDER holds data/ and models/; the source is one of the embedded hub or of models/; resumable: finished rows and trainings
           are kept)
Writes:    benchmarks/results/l2t_any_pair.json and .md
Source:    Jang et al., Learning What and Where to Transfer, 2019, whose code has pair lists for two families of convolutional networks.
Protocol:  a source at --pixels -> a network for 32 x 32 images from random weights; all pairs of maps for l2t-ww, one-to-one for fm with
           its weight chosen by validation; source maps of unit mean square unless --source-maps raw; crop and flip, SGD, cosine, the best
           evaluation by the validation images; every method from the same random weights and batches, so that differences are paired by
           seed.
Expected:  l2t-ww above scratch and above fm, on average over the seeds.
"""

import argparse
from pathlib import Path
from statistics import mean

from transfer_rows import RESULTS, Row, accuracy, advantage, complete, tuned

import hubtune as ht

METHODS = ("scratch", "fm", "l2t-ww")


def method_of(name: str, schedule: Row, weights: tuple[float, ...], maps: Row, meta: Row):
    if name == "scratch":
        # Feature matching of weight zero: the target from the same random weights, from labels alone.
        return ht.FeatureMatching(weights=(0.0,), **schedule)
    return ht.FeatureMatching(weights=weights, **maps, **schedule) if name == "fm" else ht.L2TWW(**meta, **maps, **schedule)


def best_setting(rows: list[Row]) -> tuple[list[Row], str]:
    """The rows of the beta and meta rate with the best mean validation accuracy, and these in words."""
    settings = {(row["beta"], row["meta_learning_rate"]): [] for row in rows}
    for row in rows:
        settings[row["beta"], row["meta_learning_rate"]].append(row)
    if not settings:
        return [], ""
    best = max(settings, key=lambda key: mean(row["val_accuracy"] for row in settings[key]))
    return settings[best], f"{best[0]:g}, {best[1]:g}" + (f" (best of {len(settings)} by validation)" if len(settings) > 1 else "")


def markdown(rows: list[Row]) -> str:
    lines = [
        "# Sources of other families: test accuracy, per cent\n",
        "| source | maps | target | task | images | epochs | rate | "
        + " | ".join(METHODS)
        + " | l2t-ww against scratch | against fm | beta, meta rate |",
        "| --- | --- | --- | --- |" + " ---: |" * (len(METHODS) + 5) + " --- |",
    ]
    keys = ("source", "source_maps", "target", "task", "train", "epochs", "rate")
    for key in dict.fromkeys(tuple(row.get(name, "raw") for name in keys) for row in rows):
        found = {
            method: [row for row in rows if tuple(row.get(name, "raw") for name in keys) == key and row["method"] == method]
            for method in METHODS
        }
        found["l2t-ww"], setting = best_setting(found["l2t-ww"])
        shown = [accuracy(found[method]) for method in METHODS] + [advantage(found["l2t-ww"], found[other]) for other in METHODS[:2]]
        lines.append(f"| {' | '.join(str(value) for value in key)} | {' | '.join(shown)} | {setting} |")
    return "\n".join(lines) + "\n\nIn brackets: seeds, or a 95 % interval over them (paired differences in points).\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="eurosat", help="a folder of data/")
    parser.add_argument("--source", default="convnext_things", help="a model of the embedded hub, such as convnext_things or vit_dots")
    parser.add_argument("--target", default="cifar_mobilenet")
    parser.add_argument("--pixels", type=int, default=32, help="largest side of the source's input")
    parser.add_argument("--source-maps", default="unit", choices=("unit", "raw"))
    parser.add_argument("--train", type=int, default=1000, help="first training images")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate of every method")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--weights", default="0.1,0.5,2", help="tried for fm")
    parser.add_argument("--beta", type=float, default=0.5, help="of l2t-ww")
    parser.add_argument("--meta-rate", type=float, default=1e-4, help="of l2t-ww's meta-networks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="l2t_any_pair", help="of the files that are written")
    arguments = parser.parse_args()
    hub = ht.Hub.open(["demo", str(arguments.folder / "models")]).subset([arguments.source])
    task = ht.Task.open(str(arguments.folder / "data" / arguments.task), augmentation="crop+flip").take(train=arguments.train)
    weights = tuple(float(weight) for weight in arguments.weights.split(","))
    steps = max(1, arguments.epochs * len(task.train) // arguments.batch_size)
    schedule = {
        "target": arguments.target,
        "target_input_size": 32,
        "steps": steps,
        "batch_size": arguments.batch_size,
        "learning_rates": (arguments.rate,),
        "evaluations": min(20, steps),
    }
    names = ("task", "source", "pixels", "target", "train", "epochs", "batch_size", "rate", "source_maps")
    shared = {name: getattr(arguments, name) for name in names}
    maps = {"source_maps": arguments.source_maps}
    meta = {"beta": arguments.beta, "meta_learning_rate": arguments.meta_rate}

    def compute(asked: Row) -> Row:
        return tuned(task, hub, method_of(asked["method"], schedule, weights, maps, meta), asked["seed"], input_size=arguments.pixels)

    wanted = [
        shared | {"method": method, "seed": seed} | (meta if method == "l2t-ww" else {})
        for seed in range(arguments.seeds)
        for method in arguments.methods.split(",")
    ]
    print(markdown(complete(RESULTS / f"{arguments.name}.json", wanted, compute, markdown)))


if __name__ == "__main__":
    main()
