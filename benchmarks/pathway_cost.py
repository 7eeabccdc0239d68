"""What a training step and a prediction of Hub-Pathway cost, in those of one model.

Command:   OMP_NUM_THREADS=1 python benchmarks/pathway_cost.py            (six minutes; --rounds 3 for a quick look)
Writes:    benchmarks/results/pathway_cost.json and .md
Setting:   m ResNet-18 with random weights, images of 64 x 64, batch 48, k = 2, SGD with momentum; m = 5 and m = 10. "models alone" are the
           m models on 48 k / m images each, one after another, with no routing at all: what routing could cost at least. "all models"
           sends every image through all m. Predictions: 240 images, k = 1, beside the same models on the images that chose them.
Measured:  floating-point operations (of steps: forward and backward, counted by torch), and processor time on one thread, everything
           interleaved in one process: each round does each kind once. Ratios are medians over rounds, with quartiles.
Source:    Shu et al. (2022), section 3.2: the cost "is at most k times of the single model fine-tuning"; the generator comes on top.
Expected:  operations: k without the generator, at most k + 0.15 with it, whatever m; time at m = 5: at most 2.3 (1.15 k) without,
           2.4 (1.2 k) with. Time grows with m although operations do not: every activated model has a cost that does not depend on
           its rows (its weights, gradients and momentum go through memory), with or without routing. Prediction: at most 1.15.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

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
CPU = Runtime(device_name="cpu")


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


@dataclass(frozen=True)
class Steps:
    """Ways to make one training step."""

    models: int
    task: ht.Task

    def ways(self) -> dict[str, Callable[[Batch], object]]:
        alone = [self._single() for _ in range(self.models)]
        ends = [BATCH * TOP_K * i // self.models for i in range(self.models + 1)]

        def models_alone(batch: Batch) -> None:
            for model, start, end in zip(alone, ends[:-1], ends[1:], strict=True):
                model.step(batch.rows(0, end - start), 0.0)

        ways: dict[str, Callable[[Batch], object]] = {"models alone": models_alone}
        hubs = {"routed": hub_of(self.models, self.task), "routed, generator": hub_of(self.models, self.task, generated=True)}
        hubs["all models"] = hub_of(self.models, self.task, k=self.models)
        for name, learner in {"single": self._single(), **{name: self._learner(hub) for name, hub in hubs.items()}}.items():
            ways[name] = partial(learner.step, progress=0.0)
        return ways

    def _single(self) -> SupervisedLearner:
        return SupervisedLearner(resnet18(self.task), self.task, steps=10**6, optimization=SGD, runtime=CPU)

    def _learner(self, hub: RoutedHub) -> HubPathwayLearner:
        setting = Setting(seed=0, canvas_size=SIDE, runtime=CPU)
        loss = Loss(explore=0.1, exploit=True)
        return HubPathwayLearner(hub, self.task, steps=10**6, optimization=SGD, loss=loss, setting=setting)


def hub_of(models: int, task: ht.Task, k: int = TOP_K, *, generated: bool = False) -> RoutedHub:
    """Paths are at random, balanced over the models, unless a generator makes them."""
    members = [resnet18(task) for _ in range(models)]
    size = auto_size(SIDE)
    generator = PathwayGenerator(models, size, auto_width(members, size)) if generated else RandomPathway(models)
    return RoutedHub(members, generator, Aggregator(models, 10), k)


def measure(ways: dict[str, Callable[[Batch], object]], batch: Batch, rounds: int, unit: str) -> dict[str, dict[str, Any]]:
    """Operations, and processor time, of each way over those of ``unit``."""
    operations, seconds = {}, {name: [] for name in ways}
    for name, way in ways.items():
        with FlopCounterMode(display=False) as counter:
            way(batch)
        operations[name] = counter.get_total_flops()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            way(batch)
            seconds[name].append(time.process_time() - started)
    found = {}
    for name in ways:
        ratios = [own / one for own, one in zip(seconds[name], seconds[unit], strict=True)]
        found[name] = {"operations": operations[name] / operations[unit], "time": median(ratios), "quartiles": quantiles(ratios, n=4)[::2]}
    return found


def predictions(models: int, task: ht.Task) -> dict[str, Callable[[Batch], object]]:
    """Ways to predict with k = 1. A generator that has just been made sends every image to the first model: paths are drawn instead."""
    hub = hub_of(models, task, 1).eval()
    generator = PathwayGenerator(models, auto_size(SIDE), auto_width(list(hub.members), auto_size(SIDE))).eval()  # pyright: ignore[reportArgumentType]
    chosen = {}

    @torch.inference_mode()
    def routed(batch: Batch) -> None:
        hub(batch.canvas)

    @torch.inference_mode()
    def with_generator(batch: Batch) -> None:
        generator(batch.canvas)
        hub(batch.canvas)

    @torch.inference_mode()
    def models_alone(batch: Batch) -> None:
        if not chosen:
            paths = hub.generator(batch.canvas).argmax(1)
            chosen.update({i: batch.canvas[paths == i] for i in range(models)})
        for i, canvas in chosen.items():
            hub.members[i](canvas)

    return {"models alone": models_alone, "routed": routed, "routed, generator": with_generator}


def images(count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    canvas = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return Batch(canvas, torch.randint(0, 10, (count,), generator=generator), torch.arange(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", default="5,10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = ht.Task.open("demo:digits")
    results: dict[str, dict[str, Any]] = {}
    for models in map(int, arguments.models.split(",")):
        results[f"a training step, k = {TOP_K}, m = {models}"] = measure(
            Steps(models, task).ways(), images(BATCH), arguments.rounds, "single"
        )
        results[f"a prediction, k = 1, m = {models}"] = measure(
            predictions(models, task), images(5 * BATCH), arguments.rounds, "models alone"
        )
    lines = [
        f"# In steps of one model, or predictions of the models alone: ResNet-18, {SIDE} x {SIDE}, one thread, {arguments.rounds} rounds\n",
        "| what | how | operations | processor time (quartiles) |",
        "| --- | --- | ---: | ---: |",
    ]
    for what, ways in results.items():
        for how, found in ways.items():
            low, high = found["quartiles"]
            lines.append(f"| {what} | {how} | {found['operations']:.2f} | {found['time']:.2f} ({low:.2f} to {high:.2f}) |")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pathway_cost.json").write_text(json.dumps(results, indent=1))
    (RESULTS / "pathway_cost.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
