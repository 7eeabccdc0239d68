"""What an iteration of l2t-ww costs, in plain supervised steps of its target.

Command:   python benchmarks/l2t_speed.py                       (some minutes on one core, 5 GB)
Writes:    benchmarks/results/l2t_speed.json and .md
Setting:   ResNet-32 -> VGG9 with BatchNorm, 15 pairs, T = 2, batch 128 of 32 x 32 pixels, one thread. The iterations are those of the
           learner that ``hubtune tune --method l2t-ww`` runs: views, source maps, the step on L_total, the meta-gradient, Adam, statistics.
           A plain step is that of ``scratch`` on the same batch. All are interleaved in one process: each round does one plain step and one
           iteration of each mode; seconds are the process's own. The ratio is that of the fastest of each, since whatever else the machine
           does only adds; beside it, the least and the largest ratio within a round.
           Error: of the gradient by the meta-networks' outputs, float64, batch 8, against one unrolled graph of torch's own layers.
           Memory: largest resident set of a process of its own that does two iterations, and what of it the iterations added.
Source:    Jang et al., Learning What and Where to Transfer, 2019, Algorithm 1.
Expected:  exact at most 12 plain steps (the authors' code: 23.6), recompute at most 2.1 GB, one meta step in four at most 5 plain steps,
           errors of the exact modes under 1e-9; that of the finite difference is large here, right after a first step at rate 0.1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call

import hubtune as ht
from hubtune.hub import ModelCard
from hubtune.hub.timm_backbone import TimmBackbone
from hubtune.tasks import Task
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime
from hubtune.training.supervised import SupervisedLearner
from hubtune.transfer.feature_matcher import weighted
from hubtune.transfer.networks import make_target, registered

RESULTS = Path(__file__).parent / "results"
BATCH, ERROR_BATCH, STEPS = 128, 8, 1000
MODES = {
    "exact": {},
    "recompute": {"hypergradient": "recompute"},
    "exact, meta_interval=4": {"meta_interval": 4},
    "finite-difference": {"hypergradient": "finite-difference"},
}


def make_task(folder: Path) -> Task:
    """Random images of ten classes."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": BATCH, "val": 10, "test": 10}.items():
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    np.savez(folder / "noise.npz", **arrays)
    # With crops no image comes again, so that the source computes in every iteration.
    return Task.open(folder / "noise.npz", augmentation="crop+flip")


def make_source() -> TimmBackbone:
    blueprint = registered("cifar_resnet32")
    card = ModelCard(name="resnet32", source="random", architecture="cifar_resnet32", params=464154, input_size=32, feature_dim=64)
    return TimmBackbone(blueprint.build(), blueprint, card)


SETTING = Setting(seed=0, canvas_size=None, runtime=Runtime(device_name="cpu"))


def make_learner(task: Task, fields: dict):
    return ht.L2TWW(steps=STEPS, batch_size=BATCH, **fields).learner([make_source()], task, [], SETTING)


def make_plain(task: Task) -> SupervisedLearner:
    options = ht.L2TWW().optimization(0.1)
    return SupervisedLearner(make_target("vgg9", None, task, 0), task, steps=STEPS, optimization=options, runtime=SETTING.runtime)


def make_batch(task: Task, rows: int) -> Batch:
    return Batch(task.train.canvas(range(rows), None), task.train.targets[:rows], torch.arange(rows))


def seconds(learner, batch: Batch, steps: int = 1) -> float:
    start = time.process_time()
    for _ in range(steps):
        learner.step(batch, 0.1)
    return (time.process_time() - start) / steps


def measure(task: Task, rounds: int) -> dict:
    """Seconds of plain steps and of iterations. The first round warms up and fills the momentum; it is not counted."""
    batch = make_batch(task, BATCH)
    plain = make_plain(task)
    learners = {mode: make_learner(task, fields) for mode, fields in MODES.items()}
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    units = []
    for number in range(rounds + 1):
        unit = min(seconds(plain, batch) for _ in range(2))
        for mode, learner in learners.items():
            cost = seconds(learner, batch, learner._meta_options.interval)
            if number:
                found[mode].append(cost)
                print(f"round {number}: {mode:24} {cost / unit:6.2f} plain steps of {unit:.2f} s", flush=True)
        units += [unit] if number else []
    return {"plain_seconds": units, "seconds": found}


def errors(task: Task) -> dict[str, float]:
    """Relative error of the gradient by lambda w of all rows."""
    batch = make_batch(task, ERROR_BATCH)
    learner = make_learner(task, {})
    learner.step(batch, 0.1)
    seen = learner._sources(batch.canvas)
    rows = {n: row.detach().double() for n, row in learner._meta(learner._meta.pool(seen)).rows().items()}
    resized = {n: x.double() for n, x in learner._network.matcher.resize(seen).items()}
    x = learner.predictor().backbone.view(batch.canvas).double()
    for state in learner._optimizer.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].double()
    learner._network.double()
    expected = unrolled(learner, x, batch.targets, resized, rows)
    found = {}
    for mode, fields in MODES.items():
        learner._memory = make_learner(task, fields)._memory
        gradients, _ = learner.meta_gradient(x, batch.targets, resized, rows, 0.1)
        own = torch.cat([gradients[n].flatten() for n in rows])
        found[mode] = float((own - expected).norm() / expected.norm())
    return found


def unrolled(learner, x, targets, resized, rows) -> torch.Tensor:
    """The gradient by its definition: one graph through all steps, of torch's own layers."""
    network, options = learner._network, learner._meta_options
    weights = {n: row.clone().requires_grad_() for n, row in rows.items()}
    theta = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
    buffers = {name: learner._optimizer.state[p]["momentum_buffer"] for name, p in network.named_parameters()}
    scratch = {name: value.clone() for name, value in network.named_buffers()}
    for t in range(options.inner_steps + 1):
        outputs, distances = functional_call(network, {**theta, **scratch}, (x, resized))
        inner = options.beta * weighted(weights, distances).mean()
        loss = inner if t < options.inner_steps else learner._task.loss(outputs, targets).mean()
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        for (name, p), g in zip(list(theta.items()), gradients, strict=True):
            buffers[name] = 0.9 * buffers[name] + g + 1e-4 * p
            theta[name] = p - 0.1 * buffers[name]
    outputs, _ = functional_call(network, {**theta, **scratch}, (x,))
    found = torch.autograd.grad(learner._task.loss(outputs, targets).mean(), list(weights.values()))
    return torch.cat([g.flatten() for g in found])


def memory(task: Task, mode: str) -> dict[str, float]:
    """Gigabytes of this process before and after two iterations."""
    learner, batch = make_learner(task, MODES[mode]), make_batch(task, BATCH)
    before = largest_resident_set()
    for _ in range(2):
        learner.step(batch, 0.1)
    after = largest_resident_set()
    return {"peak": after, "added": after - before}


def largest_resident_set() -> float:
    """Gigabytes. What getrusage says of a child begins with its parent's."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


def in_a_process_of_its_own(mode: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--memory", mode], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def markdown(results: dict) -> str:
    units = results["plain_seconds"]
    lines = [
        f"One plain step: {min(units):.2f} s of one core.\n",
        "| mode | plain steps | least to most | error (float64) | peak GB | added by the iterations |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for mode, costs in results["seconds"].items():
        memory = results["memory"].get(mode)
        gigabytes = f"{memory['peak']:.2f} | {memory['added']:.2f}" if memory else "|"
        ratios = [cost / unit for cost, unit in zip(costs, units, strict=True)]
        shown = f"{min(costs) / min(units):.1f} | {min(ratios):.1f} to {max(ratios):.1f}"
        lines.append(f"| {mode} | {shown} | {results['errors'][mode]:.1e} | {gigabytes} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", help="print what one mode needs, as JSON, and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(Path(folder))
        if arguments.memory:
            print(json.dumps(memory(task, arguments.memory)))
            return
        results = {**measure(task, arguments.rounds), "errors": errors(task)}
    results["memory"] = {mode: in_a_process_of_its_own(mode) for mode in ("exact", "recompute")}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "l2t_speed.json").write_text(json.dumps(results, indent=1))
    (RESULTS / "l2t_speed.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
