"""How often the meta-networks must learn: accuracy against time with one meta step in 1, 2, 4 and 8.

Command:   python benchmarks/l2t_meta_interval.py FOLDER --count 50 --epochs 60 --seeds 1
           (FOLDER holds data/cifar10 and models/checkpoints; resumable: finished rows and trainings are kept)
Writes:    benchmarks/results/l2t_meta_interval.json and .md
Source:    the setting of Figure 5 in Jang et al., Learning What and Where to Transfer, 2019; the interval is ours.
Protocol:  TinyImageNet ResNet-32 -> VGG9 on CIFAR-10 with --count images a class; crop and flip, batch 128, SGD, cosine, the best
           evaluation by the validation images. Seconds are the processor's for the training and its evaluations.
Expected:  time falls towards that of fm; an iteration costs some 10.5 plain steps with a meta step and 1.6 without.
"""

import argparse
from pathlib import Path
from statistics import mean

from transfer_rows import RESULTS, Row, accuracy, complete, tuned

import hubtune as ht

SOURCE = "l2tww_tinyimagenet_resnet32"
CLASSES, BATCH = 10, 128


def markdown(rows: list[Row]) -> str:
    setting = "; ".join(sorted({f"N = {row['count']}, {row['epochs']} epochs" for row in rows}))
    lines = [
        f"# CIFAR-10 from TinyImageNet, VGG9, {setting}\n",
        "| meta step every | test accuracy, per cent | CPU seconds |",
        "| ---: | ---: | ---: |",
    ]
    for interval in sorted({row["interval"] for row in rows}):
        found = [row for row in rows if row["interval"] == interval]
        lines.append(f"| {interval} | {accuracy(found)} | {mean(row['cpu_seconds'] for row in found):.0f} |")
    return "\n".join(lines) + "\n\nIn brackets: seeds.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50, help="training images a class")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate")
    parser.add_argument("--intervals", default="1,2,4,8")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name", default="l2t_meta_interval", help="of the files that are written")
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models" / "checkpoints")).subset([SOURCE])
    task = ht.Task.open(str(arguments.folder / "data" / "cifar10"), augmentation="crop+flip").take(train=CLASSES * arguments.count)
    steps = max(1, arguments.epochs * len(task.train) // BATCH)
    schedule = {"steps": steps, "batch_size": BATCH, "learning_rates": (arguments.rate,), "evaluations": min(20, steps)}
    shared = {name: getattr(arguments, name) for name in ("count", "epochs", "rate")}

    def compute(asked: Row) -> Row:
        return tuned(task, hub, ht.L2TWW(meta_interval=asked["interval"], **schedule), asked["seed"])

    wanted = [
        shared | {"interval": int(interval), "seed": seed} for seed in range(arguments.seeds) for interval in arguments.intervals.split(",")
    ]
    print(markdown(complete(RESULTS / f"{arguments.name}.json", wanted, compute, markdown)))


if __name__ == "__main__":
    main()
