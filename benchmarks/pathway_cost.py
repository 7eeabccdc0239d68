"""What a training step of Hub-Pathway costs, in training steps of one model.

Command:   OMP_NUM_THREADS=1 python benchmarks/pathway_cost.py            (a few minutes; --rounds 3 for a quick look)
Writes:    benchmarks/results/pathway_cost.json and .md
Setting:   m ResNet-18 with random weights, images of 64 x 64, batch 48, k = 2, SGD with momentum; m = 5 and m = 10.
Measured:  floating-point operations of a whole step (forward and backward, counted by torch), and processor time on one thread, everything
           interleaved in one process: each round takes one step of each kind. Ratios are medians over rounds, with quartiles.
Source:    Shu et al. (2022), section 3.2: the cost "is at most k times of the single model fine-tuning"; the generator comes on top.
Expected:  operations: k without the generator, at most k + 0.15 with it, whatever m; time at m = 5: at most 2.3 (1.15 k) without,
           2.4 (1.2 k) with. Time grows with m although operations do not: every activated model has a cost that does not depend on
           its rows (forward and backward of 19 rows took 0.44 of 48 rows' time, not 0.40; of 10 rows 0.28, not 0.21).
Found:     12 rounds on a quiet machine: 2.00 and 2.12 in operations at m = 5 and m = 10; in time 2.23 and 2.37 at m = 5, as expected,
           2.92 and 3.10 at m = 10.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles

import torch
from torch.utils.flop_counter import FlopCounterMode

import hubtune as ht
from hubtune.hub import Backbone, ModelCard
from hubtune.hub.backbone import Preprocessing
from hubtune.pathway.aggregator import Aggregator
from hubtune.pathway.generator import PathwayGenerator, RandomPathway
from hubtune.pathway.hub_pathway_learner import HubPathwayLearner, Loss
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.sizing import auto_size, auto_width
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.predictor import Single
from hubtune.training.runtime import Runtime
from hubtune.training.supervised import Optimization, SupervisedLearner

RESULTS = Path(__file__).parent / "results"
SIDE, BATCH, TOP_K = 64, 48, 2
SGD = Optimization(learning_rate=0.01)


def resnet18(task: ht.Task) -> Single:
    """With random weights and a head for the task."""
    card = ModelCard(name="resnet18", source="timm:resnet18", architecture="resnet18", params=11_176_512, input_size=SIDE, feature_dim=512)
    cfg = {"input_size": [3, SIDE, SIDE]}
    spec = {
        "kind": "timm",
        "architecture": "resnet18",
        "model_args": {},
        "pretrained_cfg": cfg,
        "preprocessing": asdict(Preprocessing(input_size=SIDE)),
    }
    backbone = Backbone.from_spec({**spec, "card": card.to_dict()})
    return Single(backbone, task.head(backbone))


def learners(models: int, task: ht.Task) -> dict[str, SupervisedLearner | HubPathwayLearner]:
    """A single model, and a hub without and with a generator."""
    setting = Setting(seed=0, canvas_size=SIDE, runtime=Runtime(device_name="cpu"))

    def hub(generated: bool) -> HubPathwayLearner:
        members = [resnet18(task) for _ in range(models)]
        size = auto_size(SIDE)
        generator = PathwayGenerator(models, size, auto_width(members, size)) if generated else RandomPathway(models)
        routed = RoutedHub(members, generator, Aggregator(models, 10), TOP_K)
        return HubPathwayLearner(routed, task, steps=10**6, optimization=SGD, loss=Loss(explore=0.1, exploit=True), setting=setting)

    single = SupervisedLearner(resnet18(task), task, steps=10**6, optimization=SGD, runtime=setting.runtime)
    return {"single": single, "routed": hub(False), "routed, generator": hub(True)}


def measure(models: int, task: ht.Task, rounds: int) -> dict:
    """Operations, and processor time, of each kind of step over those of a single model's."""
    kinds = learners(models, task)
    generator = torch.Generator().manual_seed(0)
    canvas = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    batch = Batch(canvas, torch.randint(0, 10, (BATCH,), generator=generator), torch.arange(BATCH))
    operations, seconds = {}, {name: [] for name in kinds}
    for name, learner in kinds.items():
        with FlopCounterMode(display=False) as counter:
            learner.step(batch, 0.0)
        operations[name] = counter.get_total_flops()
    for _ in range(rounds):
        for name, learner in kinds.items():
            started = time.process_time()
            learner.step(batch, 0.0)
            seconds[name].append(time.process_time() - started)
    row: dict = {"models": models, "single_seconds": median(seconds["single"])}
    for name in kinds:
        ratios = [own / single for own, single in zip(seconds[name], seconds["single"], strict=True)]
        row[name] = {
            "operations": operations[name] / operations["single"],
            "time": median(ratios),
            "quartiles": quantiles(ratios, n=4)[::2],
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", default="5,10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = ht.Task.open("demo:digits")
    rows = [measure(int(models), task, arguments.rounds) for models in arguments.models.split(",")]
    lines = [
        f"# A step in single-model steps: ResNet-18, {SIDE} x {SIDE}, batch {BATCH}, k = {TOP_K}, one thread, {arguments.rounds} rounds\n",
        "| m | step | operations | processor time (quartiles) |",
        "| ---: | --- | ---: | ---: |",
    ]
    for row in rows:
        for name in ("routed", "routed, generator"):
            low, high = row[name]["quartiles"]
            lines.append(
                f"| {row['models']} | {name} | {row[name]['operations']:.2f} | {row[name]['time']:.2f} ({low:.2f} to {high:.2f}) |"
            )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pathway_cost.json").write_text(json.dumps(rows, indent=1))
    (RESULTS / "pathway_cost.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
