"""What to transfer, on a fine-grained task: weighted (L2T-w) against unweighted (FM) matching, and three stages against two.

Command:   python benchmarks/l2t_finegrained.py FOLDER --epochs 30 --seeds 3
           (FOLDER holds data/flowers102 and models/mobilenetv2_imagenet; resumable: finished rows and trainings are kept)
Writes:    benchmarks/results/l2t_finegrained.json and .md
Source:    Jang et al., Learning What and Where to Transfer, 2019, Table 1 (CUB200 and others), and section 2.2 on the two-stage scheme.
Protocol:  an ImageNet source -> ResNet-18 from random weights, both at --pixels; pairs single and one-to-one; random resized crop or pad
           and crop, and flip; SGD, cosine, the best evaluation by the validation images; the weight of fm and beta of l2t-w chosen by
           validation.
           "two stages" is l2t-w whose virtual steps minimise L_total, without the step on the task's loss alone (adapt=false).
Differs:   the paper's source is ResNet-34 at 224 x 224, and its tasks have more images a class.
Expected:  l2t-w above fm with the same pairs (paper, CUB200, one-to-one: 56.6 against 48.9; single: 52.0 against 47.6); three stages above
           two.
"""

import argparse
from pathlib import Path

from transfer_rows import RESULTS, Row, accuracy, advantage, complete, tuned

import hubtune as ht

CONFIGURATIONS = ("single", "one-to-one")


def method_of(name: str, pairs: str, schedule: Row, weights: tuple[float, ...], meta: Row):
    if name == "scratch":
        # Feature matching of weight zero: the target from the same random weights, from labels alone.
        return ht.FeatureMatching(weights=(0.0,), pairs=pairs, **schedule)
    if name == "fm":
        return ht.FeatureMatching(weights=weights, pairs=pairs, **schedule)
    return ht.L2TW(pairs=pairs, adapt=name != "two stages", **meta, **schedule)


def markdown(rows: list[Row]) -> str:
    setting = "; ".join(sorted({f"{row['task']}, {row['pixels']} pixels, {row['epochs']} epochs" for row in rows}))
    lines = [
        f"# ResNet-18 from {', '.join(sorted({row['source'] for row in rows}))} ({setting}): test accuracy, per cent\n",
        "| method | pairs | accuracy | against fm with the same pairs, paired |",
        "| --- | --- | ---: | ---: |",
    ]

    def of(method: str, pairs: str) -> list[Row]:
        return [row for row in rows if (row["method"], row["pairs"]) == (method, pairs)]

    for method in dict.fromkeys(row["method"] for row in rows):
        for pairs in CONFIGURATIONS:
            if found := of(method, pairs):
                shown = advantage(found, of("fm", pairs)) if method != "fm" else ""
                lines.append(f"| {method} | {pairs if method != 'scratch' else ''} | {accuracy(found)} | {shown} |")
    return "\n".join(lines) + "\n\nIn brackets: seeds, or a 95 % interval.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="flowers102", help="a folder of data/")
    parser.add_argument("--source", default="mobilenetv2_imagenet", help="a model of models/")
    parser.add_argument("--target", default="resnet18")
    parser.add_argument("--pixels", type=int, default=64, help="of both networks' inputs")
    parser.add_argument("--train", type=int, help="first training images; all unless given")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.02, help="first learning rate of every method")
    parser.add_argument("--methods", default="scratch,fm,l2t-w,two stages")
    parser.add_argument("--pairs", default="single,one-to-one")
    parser.add_argument("--weights", default="0.3,3", help="tried for fm")
    parser.add_argument("--betas", default="0.5,3", help="tried for l2t-w")
    parser.add_argument("--hypergradient", default="exact", help="recompute where memory is short")
    parser.add_argument("--meta-interval", type=int, default=1, help="of l2t-w")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="l2t_finegrained", help="of the files that are written")
    arguments = parser.parse_args()
    hub = ht.Hub.open(str(arguments.folder / "models")).subset([arguments.source])
    task = ht.Task.open(str(arguments.folder / "data" / arguments.task), augmentation="crop+flip").take(train=arguments.train)
    weights = tuple(float(weight) for weight in arguments.weights.split(","))
    steps = max(1, arguments.epochs * len(task.train) // arguments.batch_size)
    schedule = {
        "target": arguments.target,
        "target_input_size": arguments.pixels,
        "steps": steps,
        "batch_size": arguments.batch_size,
        "learning_rates": (arguments.rate,),
        "evaluations": min(20, steps),
    }
    betas = tuple(float(beta) for beta in arguments.betas.split(","))
    meta = {"hypergradient": arguments.hypergradient, "meta_interval": arguments.meta_interval, "beta": betas}
    names = ("task", "source", "target", "pixels", "epochs", "rate", "meta_interval")
    shared = {name: getattr(arguments, name) for name in names} | {"train": len(task.train)}

    def compute(asked: Row) -> Row:
        method = method_of(asked["method"], asked["pairs"], schedule, weights, meta)
        return tuned(task, hub, method, asked["seed"], input_size=arguments.pixels)

    wanted = [
        shared | {"method": method, "pairs": pairs, "seed": seed}
        for seed in range(arguments.seeds)
        for pairs in arguments.pairs.split(",")
        for method in arguments.methods.split(",")
        if method != "scratch" or pairs == arguments.pairs.split(",")[0]
    ]
    print(markdown(complete(RESULTS / f"{arguments.name}.json", wanted, compute, markdown)))


if __name__ == "__main__":
    main()
