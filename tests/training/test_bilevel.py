"""Hypergradients against central differences, an unrolled graph, a closed form and SGD itself; all in float64."""

import collections
import itertools
import re
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from hubtune.errors import ConfigurationError, TrainingError
from hubtune.training.bilevel import hypergradient

LEARNING_RATE = 0.1
PAIRS = tuple(itertools.product(range(2), range(2)))
SOURCE_CHANNELS, TARGET_CHANNELS = (4, 5), (3, 4)
EXACT = ({"memory": "store"}, {"memory": "recompute"})
SETTINGS = list(itertools.product((1, 2, 3), (0.0, 0.9), (0.0, 1e-4), (False, True), (False, True)))
NAMES = "steps, momentum, weight_decay, with_buffers, batch_norm"
MODES = (*EXACT, {"mode": "finite-difference"})


def solve(inner, adapt, outer, params, meta, **options):
    return hypergradient(inner, adapt, outer, params, meta, **{"steps": 2, "learning_rate": LEARNING_RATE, **options})


class Target(nn.Module):
    """Two conv stages and a linear head; a 1 x 1 convolution per pair, which only the matching loss uses."""

    def __init__(self, batch_norm: bool, smooth: bool):
        super().__init__()
        self.pool = nn.AvgPool2d(2) if smooth else nn.MaxPool2d(2)
        self.stages = nn.ModuleList()
        for channels, out in zip((2, *TARGET_CHANNELS), TARGET_CHANNELS, strict=False):
            norm = nn.BatchNorm2d(out) if batch_norm else nn.Identity()
            self.stages.append(
                nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=not batch_norm), norm, nn.Softplus() if smooth else nn.ReLU())
            )
        self.head = nn.Linear(TARGET_CHANNELS[-1], 3)
        self.matchers = nn.ModuleList(nn.Conv2d(TARGET_CHANNELS[n], SOURCE_CHANNELS[m], 1) for m, n in PAIRS)

    def forward(self, x: torch.Tensor):
        first = self.stages[0](x)
        second = self.stages[1](self.pool(first))
        matched = [matcher((first, second)[n]) for matcher, (_, n) in zip(self.matchers, PAIRS, strict=True)]
        return self.head(second.mean((2, 3))), matched


@dataclass
class Problem:
    """L2T-ww in small: source maps -> channel softmax and ReLU6 pair weights -> weighted feature matching."""

    net: Target
    images: torch.Tensor
    labels: torch.Tensor
    source: list[torch.Tensor]
    params: dict[str, torch.Tensor]
    meta: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]

    def outputs(self, params):
        return functional_call(self.net, params, (self.images,))

    def inner(self, params, meta):
        _, matched = self.outputs(params)
        total = torch.zeros((), dtype=torch.float64)
        for k, (m, _) in enumerate(PAIRS):
            pooled = self.source[m].mean((2, 3))
            w = F.softmax(pooled @ meta[f"f{k}"], dim=1)
            lam = F.relu6(pooled @ meta[f"g{k}.weight"] + meta[f"g{k}.bias"])
            resized = F.interpolate(self.source[m], size=matched[k].shape[-2:], mode="bilinear", align_corners=False)
            total = total + (lam * (w * (matched[k] - resized).square().mean((2, 3))).sum(1)).mean()
        return 0.5 * total

    def task(self, params):
        return F.cross_entropy(self.outputs(params)[0], self.labels)

    def run(self, **options):
        return solve(self.inner, self.task, self.task, self.params, self.meta, **options)


def make(batch_norm: bool = False, smooth: bool = False) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Target(batch_norm, smooth).double()
        images, labels = torch.randn(6, 2, 6, 6, dtype=torch.float64), torch.arange(6) % 3
        source = [torch.randn(6, c, s, s, dtype=torch.float64).relu() for c, s in zip(SOURCE_CHANNELS, (6, 3), strict=True)]
        meta = {}
        for k, (m, _) in enumerate(PAIRS):
            meta[f"f{k}"] = torch.randn(SOURCE_CHANNELS[m], SOURCE_CHANNELS[m], dtype=torch.float64)
            meta[f"g{k}.weight"] = 0.3 * torch.randn(SOURCE_CHANNELS[m], dtype=torch.float64)
            meta[f"g{k}.bias"] = torch.tensor(1.0, dtype=torch.float64)
        params = {k: p.detach().clone() for k, p in net.named_parameters()}
        return Problem(net, images, labels, source, params, meta, {k: 0.1 * torch.randn_like(p) for k, p in params.items()})


def configured(steps, momentum, weight_decay, with_buffers, batch_norm):
    problem = make(batch_norm)
    buffers = problem.buffers if with_buffers else None
    return problem, {"steps": steps, "momentum": momentum, "weight_decay": weight_decay, "momentum_buffers": buffers}


def unrolled(problem: Problem, steps, momentum=0.0, weight_decay=0.0, momentum_buffers=None, adapt=True, differentiate=True):
    """The definition: one graph through the whole training."""
    meta = {k: x.clone().requires_grad_() for k, x in problem.meta.items()}
    theta = {k: x.clone().requires_grad_() for k, x in problem.params.items()}
    buffers = dict(momentum_buffers or {})
    for t in range(steps + adapt):
        loss = problem.inner(theta, meta) if t < steps else problem.task(theta)
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=differentiate, allow_unused=True)
        for (k, x), g in zip(theta.items(), gradients, strict=True):
            g = (torch.zeros_like(x) if g is None else g) + weight_decay * x
            buffers[k] = momentum * buffers[k] + g if k in buffers else g
            theta = theta | {k: x - LEARNING_RATE * buffers[k]}
    outer = problem.task(theta)
    if not differentiate:
        return None, outer.detach()
    return dict(zip(meta, torch.autograd.grad(outer, list(meta.values())), strict=True)), outer.detach()


def flat(tensors) -> torch.Tensor:
    return torch.cat([x.flatten() for x in tensors.values()])


def error(given, expected) -> float:
    return float((flat(given) - flat(expected)).norm() / flat(expected).norm())


@pytest.mark.parametrize("options", EXACT, ids=str)
@pytest.mark.parametrize(NAMES, SETTINGS)
def test_equals_the_unrolled_graph(steps, momentum, weight_decay, with_buffers, batch_norm, options):
    problem, settings = configured(steps, momentum, weight_decay, with_buffers, batch_norm)
    expected, outer = unrolled(problem, **settings)
    gradient, loss = problem.run(**settings, **options)
    assert gradient.keys() == problem.meta.keys()
    assert error(gradient, expected) < 1e-9
    assert abs(float(loss - outer)) < 1e-12
    assert not loss.requires_grad
    assert not any(g.requires_grad for g in gradient.values())


@pytest.mark.parametrize(NAMES, SETTINGS)
def test_equals_central_differences_along_five_directions(steps, momentum, weight_decay, with_buffers, batch_norm):
    problem, settings = configured(steps, momentum, weight_decay, with_buffers, batch_norm)
    gradient, _ = problem.run(**settings)
    generator, h, meta = torch.Generator().manual_seed(1), 1e-5, problem.meta
    for _ in range(5):
        direction = {k: torch.randn(x.shape, generator=generator, dtype=x.dtype) for k, x in meta.items()}
        length, sides = flat(direction).norm(), []
        for sign in (1, -1):
            problem.meta = {k: x + sign * h / length * direction[k] for k, x in meta.items()}
            sides.append(unrolled(problem, **settings, differentiate=False)[1])
        along = flat(gradient) @ flat(direction) / length
        assert abs(float((sides[0] - sides[1]) / (2 * h) - along)) < 1e-5 * float(flat(gradient).norm())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_two_stage_scheme_has_no_adaptation_step(steps):
    problem = make(batch_norm=True)

    def total(params, meta):
        return problem.task(params) + problem.inner(params, meta)

    gradient, loss = solve(total, None, problem.task, problem.params, problem.meta, steps=steps, momentum=0.9)
    matching, problem.inner = problem.inner, lambda params, meta: problem.task(params) + matching(params, meta)
    expected, outer = unrolled(problem, steps, momentum=0.9, adapt=False)
    assert error(gradient, expected) < 1e-9
    assert abs(float(loss - outer)) < 1e-12


@pytest.mark.parametrize("mode", ["exact", "finite-difference"])
def test_quadratic_has_the_closed_form(mode):
    """Inner |theta - phi|^2 / 2 from theta_0: theta_T = a theta_0 + (1 - a) phi with a = (1 - alpha)^T; outer |theta|^2 / 2."""
    theta, phi = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([0.5, 4.0, -1.0]).double()

    def inner(p, m):
        return (p["x"] - m["y"]).square().sum() / 2

    gradient, loss = solve(
        inner, None, lambda p: p["x"].square().sum() / 2, {"x": theta}, {"y": phi}, steps=4, learning_rate=0.2, mode=mode
    )
    a = 0.8**4
    end = a * theta + (1 - a) * phi
    torch.testing.assert_close(gradient["y"], (1 - a) * end)
    torch.testing.assert_close(loss, end.square().sum() / 2)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 1e-2), (0.9, 1e-2)])
@pytest.mark.parametrize("with_buffers", [False, True])
def test_trajectory_is_that_of_sgd(momentum, weight_decay, with_buffers):
    problem, settings = configured(2, momentum, weight_decay, with_buffers, True)
    leaves = {k: x.clone().requires_grad_() for k, x in problem.params.items()}
    sgd = torch.optim.SGD(leaves.values(), LEARNING_RATE, momentum, weight_decay=weight_decay)
    if with_buffers:
        for k, x in leaves.items():
            sgd.state[x]["momentum_buffer"] = problem.buffers[k].clone()
    for t in range(3):
        loss = problem.inner(leaves, problem.meta) if t < 2 else problem.task(leaves)
        for x in leaves.values():
            x.grad = torch.zeros_like(x)
        loss.backward()
        sgd.step()
    _, outer = problem.run(**settings)
    assert abs(float(outer - problem.task(leaves).detach())) < 1e-12


def test_parameters_without_a_gradient_decay_and_drift():
    x, b = torch.tensor(2.0).double(), torch.tensor(0.5).double()
    seen, options = [], {"steps": 1, "momentum": 0.9, "weight_decay": 0.01, "momentum_buffers": {"x": b}}

    def outer(p):
        seen.append(p["x"].detach())
        return p["y"] ** 2

    solve(lambda p, m: p["y"] * m["z"], lambda p: p["y"] ** 2, outer, {"x": x, "y": x}, {"z": x}, **options)
    first_buffer = 0.9 * b + 0.01 * x
    first = x - 0.1 * first_buffer
    torch.testing.assert_close(seen[0], first - 0.1 * (0.9 * first_buffer + 0.01 * first))


def test_parameters_that_only_decay_carry_their_adjoint():
    """The outer loss reaches phi through x, which the adapt loss does not use: decay and momentum alone carry p_t from t = N to t = 1."""
    one = torch.tensor(1.0).double()
    options = {"steps": 1, "momentum": 0.9, "weight_decay": 0.01}
    gradient, _ = solve(lambda p, m: p["x"] * m["z"], lambda p: p["y"] ** 2, lambda p: p["x"], {"x": one, "y": one}, {"z": one}, **options)
    # x_1 = x_0 - a (z + l x_0), x_2 = x_1 - a (m (z + l x_0) + l x_1)
    torch.testing.assert_close(gradient["z"], torch.tensor(-0.1 * (1 - 0.1 * 0.01) - 0.1 * 0.9).double())


def test_partial_buffers_are_zero_where_absent_or_none():
    problem = make()
    names = list(problem.params)
    partial = {names[0]: problem.buffers[names[0]], names[1]: None}
    full = {k: partial.get(k) if partial.get(k) is not None else torch.zeros_like(x) for k, x in problem.params.items()}
    gradient, _ = problem.run(momentum=0.9, momentum_buffers=partial)
    expected, _ = problem.run(momentum=0.9, momentum_buffers=full)
    assert error(gradient, expected) == 0.0


@pytest.mark.parametrize("options", MODES, ids=str)
def test_dead_and_saturated_pairs_have_gradient_zero(options):
    problem = make(batch_norm=True)
    problem.meta["g0.bias"] = torch.tensor(-9.0, dtype=torch.float64)
    problem.meta["g1.bias"] = torch.tensor(19.0, dtype=torch.float64)
    gradient, _ = problem.run(momentum=0.9, weight_decay=1e-4, **options)
    for name in ("f0", "g0.weight", "g0.bias", "g1.weight", "g1.bias"):
        assert not gradient[name].any(), name
    for name in ("f1", "f2", "g2.weight", "g3.bias"):
        assert gradient[name].any(), name
    if options in EXACT:
        assert error(gradient, unrolled(problem, 2, 0.9, 1e-4)[0]) < 1e-9


@pytest.mark.parametrize("options", MODES, ids=str)
def test_meta_params_that_do_not_matter_have_gradient_zero(options):
    problem = make()
    problem.meta["unused"] = torch.ones(2, 3, dtype=torch.float64)
    gradient, _ = problem.run(**options)
    assert torch.equal(gradient["unused"], torch.zeros(2, 3, dtype=torch.float64))
    ones = torch.ones(4)
    gradient, loss = solve(lambda p, m: p["x"].sum(), None, lambda p: torch.tensor(3.0), {"x": ones}, {"y": ones}, **options)
    assert torch.equal(gradient["y"], torch.zeros(4))
    assert loss == 3.0


def test_meta_params_may_matter_in_some_steps_only():
    problem = make()
    calls = itertools.count()
    matching = problem.inner

    def inner(params, meta):
        return matching(params, meta) if next(calls) % 3 == 1 else problem.task(params)

    problem.inner = inner
    gradient, _ = problem.run(steps=3, momentum=0.9)
    expected, _ = unrolled(problem, 3, momentum=0.9)
    assert next(calls) == 6
    assert error(gradient, expected) < 1e-9


@pytest.mark.parametrize(("options", "calls"), list(zip(MODES, (1, 2, 2), strict=True)), ids=str)
def test_losses_are_called_as_often_as_promised(options, calls):
    problem, counts = make(), collections.Counter()

    def counted(name, loss):
        def call(*args):
            counts[name] += 1
            return loss(*args)

        return call

    inner, adapt, outer = counted("inner", problem.inner), counted("adapt", problem.task), counted("outer", problem.task)
    solve(inner, adapt, outer, problem.params, problem.meta, steps=3, **options)
    assert counts == {"inner": 3 * calls, "adapt": calls, "outer": 1}


@pytest.mark.parametrize(("options", "gradients"), [(EXACT[0], 1), (EXACT[1], 2)], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_no_second_order_term_at_the_first_step(steps, options, gradients):
    x, passes = torch.ones(3).double(), []

    def inner(p, m):
        y = 2 * p["x"]
        y.register_hook(passes.append)
        return y.pow(3).sum() + y @ m["y"]

    solve(inner, None, lambda p: p["x"].sum(), {"x": x}, {"y": x}, steps=steps, **options)
    assert len(passes) == gradients * steps + (steps - 1)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_inputs_are_left_alone(requires_grad):
    problem = make(batch_norm=True)
    problem.params = {k: nn.Parameter(x, requires_grad) for k, x in problem.params.items()}
    problem.meta = {k: x.requires_grad_(requires_grad) for k, x in problem.meta.items()}
    tensors = [*problem.params.values(), *problem.meta.values(), *problem.buffers.values()]
    before = [(x.detach().clone(), x._version, x.requires_grad) for x in tensors]
    for options in MODES:
        problem.run(momentum=0.9, weight_decay=1e-4, momentum_buffers=problem.buffers, **options)
    for x, (value, version, required) in zip(tensors, before, strict=True):
        assert torch.equal(x, value)
        assert (x._version, x.requires_grad, x.grad) == (version, required, None)


def test_works_inside_no_grad():
    problem = make(batch_norm=True)
    expected, outer = problem.run(momentum=0.9)
    with torch.no_grad():
        gradient, loss = problem.run(momentum=0.9)
        assert not torch.is_grad_enabled()
    assert error(gradient, expected) == 0.0
    assert loss == outer


def test_running_statistics_stay_when_copies_are_passed():
    problem = make(batch_norm=True)
    expected, _ = problem.run()
    moved = {k: b.clone() for k, b in problem.net.named_buffers()}

    def outputs(params):
        return functional_call(problem.net, {**params, **{k: b.clone() for k, b in problem.net.named_buffers()}}, (problem.images,))

    problem.outputs = outputs
    gradient, _ = problem.run()
    assert all(torch.equal(b, moved[k]) for k, b in problem.net.named_buffers())
    assert int(moved["stages.0.1.num_batches_tracked"]) == 4
    assert error(gradient, expected) == 0.0


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_finite_differences_err_by_less_than_stated_and_converge_linearly(batch_norm, momentum):
    problem = make(batch_norm, smooth=True)
    expected, outer = problem.run(momentum=momentum)
    errors = {}
    for displacement in (0.1, 1e-2, 1e-3):
        gradient, loss = problem.run(momentum=momentum, mode="finite-difference", displacement=displacement)
        errors[displacement] = error(gradient, expected)
        assert loss == outer
    assert errors[0.1] < 0.19
    assert errors[1e-2] / errors[1e-3] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_loss_that_is_not_finite_is_returned(options):
    problem = make()
    _, loss = solve(problem.inner, problem.task, lambda p: problem.task(p) * torch.inf, problem.params, problem.meta, **options)
    assert loss == torch.inf


@pytest.mark.wrong_shapes
def test_all_mistakes_are_reported_at_once():
    params = {"x": torch.ones(2), "n": torch.ones(1, dtype=torch.long)}
    numbers = {"steps": 0, "learning_rate": float("nan"), "momentum": -1.0, "displacement": 0.0}
    buffers = {"x": torch.ones(3), "y": torch.ones(1)}
    with pytest.raises(ConfigurationError) as caught:
        solve(lambda p, m: p["x"], None, lambda p: p["x"], params, {}, mode="approximate", momentum_buffers=buffers, **numbers)
    assert re.findall(r"(?m)^  (.+?) (?:is|has|belongs|with) ", str(caught.value)) == [
        *("params['n']", "meta_params", "momentum_buffers['x']", "momentum_buffers['y']"),
        *("steps", "learning_rate", "momentum", "displacement", "mode 'approximate'"),
    ]


@pytest.mark.parametrize(("value", "words"), [(torch.ones(4), r"shape \(4,\)"), (1.5, "float 1.5")])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_loss_must_be_a_scalar_tensor(which, value, words):
    losses = [lambda p, m: p["x"] * m["x"], lambda p: p["x"], lambda p: p["x"]]
    losses[which] = lambda *_: value
    x = {"x": torch.tensor(1.0)}
    with pytest.raises(TrainingError, match=f"(?s){('inner', 'adapt', 'outer')[which]}_loss.*{words}"):
        solve(losses[0], losses[1], losses[2], x, x)
