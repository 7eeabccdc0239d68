"""Table 2 of the L2T-ww paper: do two sources teach more than one?

Command:   python benchmarks/l2t_table2.py FOLDER --task cifar100 --train 2000 --epochs 15 --meta-interval 4 --weights 3 --seeds 1
           (FOLDER holds data/ and models/checkpoints; resumable: finished rows and trainings are kept)
Writes:    benchmarks/results/l2t_table2.json and .md
Source:    Jang et al., Learning What and Where to Transfer, 2019, Table 2 and section 3.4.
Protocol:  ResNet-32 of TinyImageNet and ResNet-32 of CIFAR-10, each alone and both together, -> VGG9 at 32 x 32; crop and flip, batch 128
           (paper), SGD, cosine, the best evaluation by the validation images; fm one-to-one with its weight chosen by validation.
Differs:   the paper's task is STL-10 and its second sources are others too; here it is any task of the folder, at 32 x 32.
Expected:  l2t-ww with both sources above l2t-ww with either (paper: 80.5 against 78.3 with TinyImageNet alone), above fm and scratch.
"""

import argparse
from pathlib import Path

from transfer_rows import RESULTS, Row, accuracy, advantage, complete, tuned

import hubtune as ht

TINY, CIFAR = "l2tww_tinyimagenet_resnet32", "cifar10_resnet32"
SOURCES = {"TinyImageNet": [TINY], "CIFAR-10": [CIFAR], "both": [TINY, CIFAR]}


def method_of(name: str, schedule: Row, weights: tuple[float, ...], meta_interval: int):
    if name == "scratch":
        # Feature matching of weight zero: VGG9 from the same random weights, from labels alone.
        return ht.FeatureMatching(weights=(0.0,), **schedule)
    if name == "fm":
        return ht.FeatureMatching(weights=weights, **schedule)
    return ht.L2TWW(meta_interval=meta_interval, **schedule)


def markdown(rows: list[Row]) -> str:
    setting = "; ".join(sorted({f"{row['task']}, {row['train']} images, {row['epochs']} epochs" for row in rows}))
    lines = [
        f"# VGG9 from one source and from two ({setting}): test accuracy, per cent\n",
        "| method | " + " | ".join(SOURCES) + " | both against TinyImageNet alone, paired |",
        "| --- |" + " ---: |" * (len(SOURCES) + 1),
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        found = {name: [row for row in rows if (row["method"], row["sources"]) == (method, name)] for name in SOURCES}
        shown = [accuracy(found[name]) for name in SOURCES]
        lines.append(f"| {method} | {' | '.join(shown)} | {advantage(found['both'], found['TinyImageNet'])} |")
    return "\n".join(lines) + "\n\nIn brackets: seeds, or a 95 % interval.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="cifar100", help="a folder of data/")
    parser.add_argument("--train", type=int, default=2000, help="first training images")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate of every method")
    parser.add_argument("--methods", default="scratch,fm,l2t-ww")
    parser.add_argument("--sources", default=",".join(SOURCES), help="some of the columns")
    parser.add_argument("--weights", default="0.3,3", help="tried for fm")
    parser.add_argument("--meta-interval", type=int, default=1, help="of l2t-ww")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="l2t_table2", help="of the files that are written")
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models" / "checkpoints"))
    task = ht.Task.open(str(arguments.folder / "data" / arguments.task), augmentation="crop+flip").take(train=arguments.train)
    weights = tuple(float(weight) for weight in arguments.weights.split(","))
    steps = max(1, arguments.epochs * len(task.train) // arguments.batch_size)
    schedule = {
        "steps": steps,
        "batch_size": arguments.batch_size,
        "learning_rates": (arguments.rate,),
        "evaluations": min(20, steps),
    }
    shared = {name: getattr(arguments, name) for name in ("task", "epochs", "rate", "meta_interval")} | {"train": len(task.train)}

    def compute(asked: Row) -> Row:
        models = hub.subset(SOURCES[asked["sources"]])
        return tuned(task, models, method_of(asked["method"], schedule, weights, arguments.meta_interval), asked["seed"], input_size=32)

    wanted = [
        shared | {"method": method, "sources": sources, "seed": seed}
        for seed in range(arguments.seeds)
        for method in arguments.methods.split(",")
        # Without a source there is nothing to compare.
        for sources in (arguments.sources.split(",") if method != "scratch" else ["TinyImageNet"])
    ]
    print(markdown(complete(RESULTS / f"{arguments.name}.json", wanted, compute, markdown)))


if __name__ == "__main__":
    main()
