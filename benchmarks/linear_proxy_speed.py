"""What linear evaluation costs, all runs at once, against one SGD loop after the other.

Command:   python benchmarks/linear_proxy_speed.py                 (200 of the 2500 steps, three rounds: one to two minutes)
           python benchmarks/linear_proxy_speed.py --steps 2500 --rounds 1
Writes:    benchmarks/results/linear_proxy_speed.json
Setting:   N = 800 training images, D = 1280, 10 and 100 classes, 2 learning rates x 5 seeds, batch 512, momentum 0.9, float32, two threads:
           the protocol of Renggli et al., "Which Model to Transfer?", section 4.3.
Plain:     ten runs of a minibatch loop without autograd: features in memory, weights (C, D) so that all three products are the fast ones,
           updates in place, the same minibatches. Both sides draw their own permutations.
Measured:  processor time, interleaved in one process; the ratio is the median over rounds. The largest difference of the two heads'
           training logits is printed beside it, and again for 50 steps in float64.
Expected:  at least 4 times less processor time with 10 classes and 2 times less with 100 (measured on two busy cores of an EPYC, Zen 4:
           6.7 and 3.9). Differences below 1e-3 in float32 and below 1e-8 in float64.
"""

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from hubtune.proxies import linear_fit
from hubtune.proxies.sgd import minibatches

COUNT, DIM, BATCH, MOMENTUM = 800, 1280, 512, 0.9
RATES, SEEDS = (0.1, 0.01), (0, 1, 2, 3, 4)
EXPECTED = {10: 4.0, 100: 2.0}
RESULTS = Path(__file__).parent / "results"


def draw(num_classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Features like those of a network: not negative, about one in size, informative."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % num_classes
    means = torch.randn(num_classes, DIM, generator=generator)
    return (0.6 * torch.randn(COUNT, DIM, generator=generator) + 0.3 * means[labels]).relu().to(dtype), labels


def plain(rows: Tensor, labels: Tensor, num_classes: int, rate: float, seed: int, steps: int) -> tuple[Tensor, Tensor]:
    """One run: weight (C, D) and bias (C,)."""
    weight, bias = rows.new_zeros(num_classes, DIM), rows.new_zeros(num_classes)
    weight_velocity, bias_velocity = torch.zeros_like(weight), torch.zeros_like(bias)
    targets = torch.nn.functional.one_hot(labels, num_classes).to(rows.dtype)
    for index in islice(minibatches(COUNT, BATCH, seed), steps):
        batch = rows[index]
        errors = torch.nn.functional.linear(batch, weight, bias).softmax(1).sub_(targets[index]).div_(BATCH)
        weight_velocity.mul_(MOMENTUM).addmm_(errors.T, batch)
        bias_velocity.mul_(MOMENTUM).add_(errors.sum(0))
        weight.sub_(weight_velocity, alpha=rate)
        bias.sub_(bias_velocity, alpha=rate)
    return weight, bias


def all_plain(rows: Tensor, labels: Tensor, num_classes: int, steps: int) -> tuple[Tensor, Tensor]:
    heads = [[plain(rows, labels, num_classes, rate, seed, steps) for rate in RATES] for seed in SEEDS]
    weights, biases = ([torch.stack([run[part] for run in runs]) for runs in heads] for part in (0, 1))
    return torch.stack(weights), torch.stack(biases)


def together(rows: Tensor, labels: Tensor, num_classes: int, steps: int) -> tuple[Tensor, Tensor]:
    return linear_fit(rows, labels, num_classes, learning_rates=RATES, steps=steps, batch_size=BATCH, momentum=MOMENTUM, seeds=SEEDS)


def difference(rows: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """The largest difference of the training logits."""
    logits = [torch.einsum("srcd,nd->srnc", weight, rows) + bias[:, :, None] for weight, bias in (first, second)]
    return float((logits[0] - logits[1]).abs().max())


def timed(function, *arguments) -> tuple[float, tuple[Tensor, Tensor]]:
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    results = {"steps": options.steps, "rounds": options.rounds, "threads": 2, "classes": {}}
    for num_classes, expected in EXPECTED.items():
        double = draw(num_classes, torch.float64)
        exact = difference(double[0], all_plain(*double, num_classes, 50), together(*double, num_classes, 50))
        case = (*draw(num_classes, torch.float32), num_classes)
        together(*case, 5)
        ours, loops, apart = [], [], 0.0
        for _ in range(options.rounds):
            seconds, heads = timed(together, *case, options.steps)
            ours.append(seconds)
            seconds, separate = timed(all_plain, *case, options.steps)
            loops.append(seconds)
            apart = difference(case[0], heads, separate)
        ratio = median(loop / one for loop, one in zip(loops, ours, strict=True))
        results["classes"][num_classes] = {
            "plain_ms_per_step": round(1e3 * median(loops) / options.steps, 2),
            "together_ms_per_step": round(1e3 * median(ours) / options.steps, 2),
            "ratio": round(ratio, 2),
            "expected_ratio": expected,
            "logit_difference_float32": apart,
            "logit_difference_float64_50_steps": exact,
        }
        print(f"{num_classes:4} classes: {ratio:5.2f} times less (expected at least {expected:g}), {results['classes'][num_classes]}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "linear_proxy_speed.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
