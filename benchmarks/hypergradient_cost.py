"""What one iteration of L2T-ww costs, in plain supervised steps of its target network.

Command:   python benchmarks/hypergradient_cost.py              (tiny networks, under a minute)
           python benchmarks/hypergradient_cost.py --paper      (ResNet-32 -> VGG9, batch 128, 15 pairs, T = 2; several GB)
Measured:  processor time on one thread, everything interleaved in one process: in each round one plain step and one iteration of each
           mode. The ratio is the median over rounds, with its quartiles. An iteration is all of Algorithm 1: source maps, one step on
           L_total, the hypergradient (momentum and weight decay included), the meta-networks' Adam step. The error is that of the
           gradient of all meta-network weights, in float64, against one unrolled graph.
Source:    Jang et al., Learning What and Where to Transfer, 2019, Algorithm 1 and Section 3.1.
Expected:  with --paper, on one thread: 23.6 plain steps for the authors' code (19.2 with malloc tuned), 15.6 by counting its passes, 10.4
           by counting those of an exact method that keeps its graphs and has no second-order term at t = 0. Errors of the exact modes
           under 1e-9; of the finite difference 17 to 19 %. The tiny sizes only show that everything runs: each operator's fixed cost
           dominates there (20 to 40 plain steps), and a target of a few channels has more kinks in reach (an error near 40 %).
"""

import argparse
import copy
import time
from dataclasses import dataclass
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hubtune.nets import VGG9, CifarResNet
from hubtune.training.bilevel import hypergradient

BETA, STEPS = 0.5, 2
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
MODES = {
    "exact, graphs stored": {"memory": "store"},
    "exact, graphs recomputed": {"memory": "recompute"},
    "APPROXIMATE, finite difference": {"mode": "finite-difference"},
    "one unrolled graph": None,
}


@dataclass(frozen=True)
class Sizes:
    source_depth: int
    width: float
    """Factor on the target's channels."""
    batch: int
    batch_of_errors: int
    """The unrolled graph in float64 needs much memory."""


TINY = Sizes(8, 0.125, 16, 16)
PAPER = Sizes(32, 1.0, 128, 32)


class Target(nn.Module):
    """A VGG9, and for each of its maps one 1 x 1 convolution to the channels of all source maps together."""

    def __init__(self, width: float, source_channels: int):
        super().__init__()
        self.net = VGG9(width=width)
        self.matchers = nn.ModuleList(nn.Conv2d(stage["num_chs"], source_channels, 1) for stage in self.net.feature_info)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        last, maps = self.net.forward_intermediates(images)
        return self.net.forward_head(last), [r(x) for r, x in zip(self.matchers, maps, strict=True)]


class MetaNetworks(nn.Module):
    """f and g of every pair: pooled source features -> lambda_b w_bc, for each target map a row of all source channels."""

    def __init__(self, source_channels: list[int], target_maps: int):
        super().__init__()
        self.f = nn.ModuleList(nn.ModuleList(nn.Linear(c, c) for c in source_channels) for _ in range(target_maps))
        self.g = nn.ModuleList(nn.ModuleList(nn.Linear(c, 1) for c in source_channels) for _ in range(target_maps))
        for linear in (layer for row in self.f for layer in row):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (layer for row in self.g for layer in row):
            nn.init.ones_(linear.bias)

    def forward(self, pooled: list[Tensor]) -> dict[str, Tensor]:
        rows = {}
        for n, (fs, gs) in enumerate(zip(self.f, self.g, strict=True)):
            row = [F.relu6(g(x)) * F.softmax(f(x), 1) for f, g, x in zip(fs, gs, pooled, strict=True)]
            rows[str(n)] = torch.cat(row, 1)
        return rows


class Transfer:
    """Everything one iteration touches."""

    def __init__(self, sizes: Sizes):
        self.source = CifarResNet(sizes.source_depth).eval().requires_grad_(False)
        channels = [stage["num_chs"] for stage in self.source.feature_info]
        self.target = Target(sizes.width, sum(channels))
        self.meta = MetaNetworks(channels, len(self.target.matchers))
        self.sgd = torch.optim.SGD(self.target.parameters(), **SGD)
        self.adam = torch.optim.Adam(self.meta.parameters(), 1e-4, weight_decay=1e-4)

    def iterate(self, images: Tensor, labels: Tensor, options: dict | None) -> None:
        """One step on L_total, one of the meta-networks."""
        loss, weights = self.losses(images, labels)
        logits, matched = self.target(images)
        constant = {n: w.detach() for n, w in weights.items()}
        self.sgd.zero_grad()
        (F.cross_entropy(logits, labels) + self.matching(matched, constant)).backward()
        self.sgd.step()
        self.adam.zero_grad()
        self.meta_gradient(loss, weights, options)
        self.adam.step()

    def losses(self, images: Tensor, labels: Tensor):
        """(inner loss, task loss) as functions, and the weights of the matching; source maps are resized once for all steps."""
        with torch.no_grad():
            maps = self.source.forward_intermediates(images, intermediates_only=True)
            sides = [images.shape[-1] // stage["reduction"] for stage in self.target.net.feature_info]
            self.resized = [torch.cat([F.interpolate(x, (s, s), mode="bilinear") for x in maps], 1) for s in sides]
        scratch = {name: b.clone() for name, b in self.target.named_buffers()}

        def inner(params: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
            return self.matching(functional_call(self.target, {**params, **scratch}, (images,))[1], weights)

        def task(params: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(functional_call(self.target, {**params, **scratch}, (images,))[0], labels)

        return (inner, task), self.meta([x.mean((2, 3)) for x in maps])

    def matching(self, matched: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
        """beta times the mean over the batch of sum_c lambda_b w_bc mean_HW (r(T) - S)^2, summed over target maps."""
        distances = ((r - s).square().mean((2, 3)) for r, s in zip(matched, self.resized, strict=True))
        return BETA * torch.stack([(weights[str(n)] * d).sum(1).mean() for n, d in enumerate(distances)]).sum()

    def meta_gradient(self, losses, weights: dict[str, Tensor], options: dict | None) -> None:
        """Adds the hypergradient to the meta-networks' gradients; ``options`` None for the unrolled graph."""
        inner, task = losses
        params = dict(self.target.named_parameters())
        state = {name: self.sgd.state[p].get("momentum_buffer") for name, p in params.items()}
        if options is None:
            gradients = unrolled(inner, task, params, weights, state)
        else:
            names = {"learning_rate": SGD["lr"], "momentum": SGD["momentum"], "weight_decay": SGD["weight_decay"], "steps": STEPS}
            gradients, _ = hypergradient(inner, task, task, params, weights, momentum_buffers=state, **names, **options)
        torch.autograd.backward(list(weights.values()), [gradients[n] for n in weights])


def unrolled(inner, task, params: dict[str, Tensor], weights: dict[str, Tensor], state: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The hypergradient by its definition: one graph through all steps."""
    weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
    theta = {name: p.detach().requires_grad_() for name, p in params.items()}
    buffers = {name: torch.zeros_like(p) if state[name] is None else state[name] for name, p in params.items()}
    for t in range(STEPS + 1):
        loss = inner(theta, weights) if t < STEPS else task(theta)
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        for (name, p), g in zip(list(theta.items()), gradients, strict=True):
            buffers[name] = SGD["momentum"] * buffers[name] + g + SGD["weight_decay"] * p
            theta[name] = p - SGD["lr"] * buffers[name]
    return dict(zip(weights, torch.autograd.grad(task(theta), list(weights.values())), strict=True))


def make_batch(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3, 32, 32), torch.randint(10, (count,))


def errors(transfer: Transfer, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Relative error of the meta-networks' gradient in float64."""
    double = copy.deepcopy(transfer)
    for module in (double.source, double.target, double.meta):
        module.double()
    for state in double.sgd.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].double()
    found = {}
    for mode, options in MODES.items():
        double.adam.zero_grad()
        double.meta_gradient(*double.losses(images.double(), labels), options)
        found[mode] = torch.cat([p.grad.flatten() for p in double.meta.parameters() if p.grad is not None])
    reference = found["one unrolled graph"]
    return {mode: float((g - reference).norm() / reference.norm()) for mode, g in found.items()}


def plain_step(net: nn.Module, sgd: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    sgd.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    sgd.step()


def seconds(work, *arguments) -> float:
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def measure(sizes: Sizes, rounds: int) -> None:
    transfers = {mode: Transfer(sizes) for mode in MODES}
    plain = VGG9(width=sizes.width)
    sgd = torch.optim.SGD(plain.parameters(), **SGD)
    ratios = {mode: [] for mode in MODES}
    # The first round pays for allocations and lazy initialisation, and fills the momentum buffers; it is not counted.
    for counted in range(rounds + 1):
        images, labels = make_batch(sizes.batch)
        unit = seconds(plain_step, plain, sgd, images, labels)
        for mode, transfer in transfers.items():
            cost = seconds(transfer.iterate, images, labels, MODES[mode]) / unit
            if counted:
                ratios[mode].append(cost)
    table = errors(transfers["exact, graphs stored"], *make_batch(sizes.batch_of_errors))
    print(f"{sizes}, {rounds} rounds, last plain step {unit:.3f} s")
    print(f"{'mode':32} {'plain steps':>12} {'quartiles':>15} {'error (float64)':>16}")
    for mode, row in ratios.items():
        low, _, high = quantiles(row, n=4)
        print(f"{mode:32} {median(row):12.1f} {f'{low:.1f} - {high:.1f}':>15} {table[mode]:16.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="the sizes of the paper")
    parser.add_argument("--rounds", type=int, default=9, help="at least 2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measure(PAPER if arguments.paper else TINY, arguments.rounds)


if __name__ == "__main__":
    main()
