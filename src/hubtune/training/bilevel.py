"""Gradients through training: how the loss after a few SGD steps depends on what those steps minimised."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import ConfigurationError, TrainingError

__all__ = ["hypergradient"]

Vector = tuple[Tensor, ...]
"""A vector of the space of all parameters (or of all meta-parameters): one tensor for each name, in the order of the dictionary."""
_Loss = Callable[[Vector, Vector], Tensor]


def hypergradient(
    inner_loss: Callable[[dict[str, Tensor], dict[str, Tensor]], Float[Tensor, ""]],
    adapt_loss: Callable[[dict[str, Tensor]], Float[Tensor, ""]] | None,
    outer_loss: Callable[[dict[str, Tensor]], Float[Tensor, ""]],
    params: Mapping[str, Float[Tensor, "..."]],
    meta_params: Mapping[str, Float[Tensor, "..."]],
    *,
    steps: int,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    momentum_buffers: Mapping[str, Float[Tensor, "..."] | None] | None = None,
    mode: Literal["exact", "finite-difference"] = "exact",
    memory: Literal["store", "recompute"] = "store",
    displacement: float = 0.1,
    average: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = None,
) -> tuple[dict[str, Float[Tensor, "..."]], Float[Tensor, ""]]:
    """Differentiate the outer loss, after ``steps`` SGD steps on the inner loss and one on the adapt loss, by the meta-parameters.

    With theta (P numbers) the parameters, b (P) their momentum buffers, phi (M) the meta-parameters, alpha the learning rate, mu the
    momentum and lambda the weight decay, the trajectory over t = 0 ... N - 1 is that of ``torch.optim.SGD``:

        b_{t+1} = mu b_t + grad_theta L_t(theta_t, phi) + lambda theta_t
        theta_{t+1} = theta_t - alpha b_{t+1}

    L_t is the inner loss for t < ``steps``, then once the adapt loss, which does not see phi. A parameter that a loss does not use has
    gradient zero there: it still decays, and its buffer still moves it. With the adjoints p_t = d outer / d theta_t (P) and
    q_t = d outer / d b_t (P), from p_N = grad outer(theta_N) and q_N = 0, the reverse sweep over t = N - 1 ... 0 is:

        v = q_{t+1} - alpha p_{t+1}                                     (the whole adjoint of b_{t+1})
        d outer / d phi += (d^2 L_t / d phi d theta) v                  (nothing from the adapt step)
        p_t = p_{t+1} + lambda v + (d^2 L_t / d theta^2) v
        q_t = mu v                                                      (so that the next v is mu v - alpha p_t)

    theta_0 and b_0 do not depend on phi, so p_0 and q_0, and with them the Hessian's product at t = 0, are never computed. No graph spans
    two steps: each product is one backward pass through the graph of one step's gradient.

    Source: Jang et al., Learning What and Where to Transfer, 2019, Section 2.2 and Algorithm 1; Franceschi et al. 2017 (Reverse-HG).
    Differs from the paper: momentum and weight decay may be part of the trajectory, as in the authors' code; with both at 0 it is the
    paper's plain gradient descent. ``adapt_loss=None`` is the two-stage scheme that the paper compares with.

    Calls: the outer loss is called once. In mode "exact" with memory "store" the others are called exactly once a step, in order; else
    twice a step, the second time in reverse order, where it draws from torch's global generators the random numbers of the first time
    (dropout stays the same). A loss that counts its calls needs "exact" with "store". BatchNorm in training mode moves its running
    statistics at every call. Put the buffers back afterwards, or let the call move copies:
    ``functional_call(net, {**params, **{k: b.clone() for k, b in net.named_buffers()}}, images)``.

    Cost: weights that meta-networks compute from fixed features are the same in every step. Compute them once, pass *them* as
    ``meta_params``, and send the returned gradients through the meta-networks in one ``torch.autograd.backward``.

    Args:
        inner_loss: (params, meta_params) -> scalar, any factor (beta) included; twice differentiable by autograd in mode "exact".
        adapt_loss: params -> scalar, the one step of adaptation; None for none.
        outer_loss: params -> scalar.
        params: theta_0 by name, floating point; not modified, and need not require gradients (so too the other two dictionaries).
        meta_params: phi by name, floating point.
        steps: number of steps on the inner loss, at least 1.
        learning_rate: alpha, the same for all steps, at least 0.
        momentum: mu, at least 0; it continues through the adapt step.
        weight_decay: lambda, at least 0, coupled: part of the gradient.
        momentum_buffers: b_0 by name; zero where absent or None, which is SGD's own first step.
        mode: "exact", or "finite-difference": an APPROXIMATION. Each product is a one-sided difference of gradients at theta_t and
            theta_t + displacement v / |v|; it needs no second derivatives and keeps no graph. Expect the result to err by 17 to 19 %
            on a VGG9 with BatchNorm (float32, displacement 0.1). Where everything is smooth the error shrinks with the displacement;
            the kinks of ReLU and max-pooling keep it up, to more than 50 % on networks of a few channels, and to several times the
            gradient where a step moves the network far.
        memory: in mode "exact", "store" keeps the graphs of all steps; "recompute" keeps theta_t only and rebuilds one graph at a time in
            the reverse sweep, for one more gradient a step.
        displacement: in mode "finite-difference", how far theta_t is moved (Euclidean norm over all parameters), above 0.
        average: where several processes hold a share of the batch each, the means of tensors over these processes, in new tensors. All
            then walk the trajectory of the whole batch, whose losses are the means of the shares' losses; the gradients of the
            meta-parameters that come back are those of the process's own share, and their mean over the processes is the whole one.

    Returns:
        (gradients shaped as ``meta_params``, zeros where phi has no influence; outer loss at theta_N), both detached. A loss that is not
        finite is returned as it is, with the gradients it leads to.

    Raises:
        ConfigurationError: for arguments that cannot work, all mistakes at once.
        TrainingError: for a loss that does not return a scalar tensor.
    """
    buffers = momentum_buffers or {}
    mistakes = _mistakes(params, meta_params, buffers) + _mistakes_of_numbers(steps, learning_rate, momentum, weight_decay, displacement)
    if (mode, memory) not in _RECORDERS:
        mistakes.append(f"mode {mode!r} with memory {memory!r}: use one of {', '.join(map(repr, _RECORDERS))}")
    if mistakes:
        raise ConfigurationError("hypergradient cannot work with these arguments:\n  " + "\n  ".join(mistakes))
    record = _RECORDERS[mode, memory]
    mean = (lambda x: tuple(average(x))) if average else _same

    def inner(theta: Vector, phi: Vector) -> Tensor:
        return _scalar("inner_loss", inner_loss(dict(zip(params, theta, strict=True)), dict(zip(meta_params, phi, strict=True))))

    def adapt(theta: Vector, phi: Vector) -> Tensor:
        assert adapt_loss is not None
        return _scalar("adapt_loss", adapt_loss(dict(zip(params, theta, strict=True))))

    tape: list[tuple[_Loss, _Pullback]] = []

    def descend(theta: Vector, b: Vector) -> Vector:
        """Walk the trajectory; only the tape remembers where it led."""
        for loss in [inner] * steps + [adapt] * (adapt_loss is not None):
            gradient, pullback = record(loss, theta, phi, displacement)
            tape.append((loss, pullback))
            b = _add(_add(mean(gradient), weight_decay, theta), momentum, b)
            theta = _leaves(_add(theta, -learning_rate, b))
        return theta

    with torch.enable_grad():
        phi = _leaves(meta_params.values())
        theta = descend(
            _leaves(params.values()),
            tuple(torch.zeros_like(x) if (given := buffers.get(name)) is None else given.detach() for name, x in params.items()),
        )
        outer = _scalar("outer_loss", outer_loss(dict(zip(params, theta, strict=True))))
        p = mean(_gradient(outer, theta))
        outer = outer.detach()
        v = _scaled(p, -learning_rate)
        d_phi = tuple(torch.zeros_like(x) for x in phi)
        # Vectors as large as the network are let go of as soon as they are used: together they can outweigh the graphs.
        del theta
        while tape:
            loss, pullback = tape.pop()
            hessian_v, mixed_v = pullback(v, of_theta=bool(tape), of_phi=loss is inner)
            del pullback
            if loss is inner:
                d_phi = _add(d_phi, 1.0, mixed_v)
            if tape:
                p = _add(_add(p, weight_decay, v), 1.0, mean(hessian_v))
                v = _add(_scaled(v, momentum), -learning_rate, p)
            del hessian_v
    return dict(zip(meta_params, d_phi, strict=True)), outer


@runtime_checkable
class _Pullback(Protocol):
    """v -> ((d^2 L / d theta^2) v, (d^2 L / d phi d theta) v); a product that is not asked for is the empty vector."""

    def __call__(self, v: Vector, *, of_theta: bool, of_phi: bool) -> tuple[Vector, Vector]: ...


def _record_graph(loss: _Loss, theta: Vector, phi: Vector, displacement: float) -> tuple[Vector, _Pullback]:
    """The gradient by theta, and a pullback through its graph, which can be used once."""
    graph = _gradient(loss(theta, phi), theta, create_graph=True)

    def pullback(v: Vector, *, of_theta: bool, of_phi: bool) -> tuple[Vector, Vector]:
        # autograd visits only what lies on the way to its inputs: without theta among them no second-order term of theta is computed.
        return _split(_gradient(graph, theta * of_theta + phi * of_phi, v), len(theta) * of_theta)

    return tuple(g.detach() for g in graph), pullback


def _record_point(loss: _Loss, theta: Vector, phi: Vector, displacement: float) -> tuple[Vector, _Pullback]:
    """The gradient by theta, and a pullback that remembers theta only and builds the graph when it is used."""

    again = _same_draws()

    def pullback(v: Vector, *, of_theta: bool, of_phi: bool) -> tuple[Vector, Vector]:
        with again():
            by_graph = _record_graph(loss, theta, phi, displacement)[1]
        return by_graph(v, of_theta=of_theta, of_phi=of_phi)

    return _gradient(loss(theta, phi), theta), pullback


def _record_difference(loss: _Loss, theta: Vector, phi: Vector, displacement: float) -> tuple[Vector, _Pullback]:
    """The gradient by theta, and an approximate pullback: (grad L(theta + h v / |v|) - grad L(theta)) |v| / h by theta and by phi."""
    again = _same_draws()
    by_theta, by_phi = _split(_gradient(loss(theta, phi), theta + phi), len(theta))

    def pullback(v: Vector, *, of_theta: bool, of_phi: bool) -> tuple[Vector, Vector]:
        norm = torch.nn.utils.get_total_norm(v)
        # The floor keeps v = 0 (a dead outer loss) from dividing by zero; the difference, and so the product, is then zero.
        scale = displacement / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        moved = _leaves(x + scale * y for x, y in zip(theta, v, strict=True))
        with again():
            there = _gradient(loss(moved, phi), moved * of_theta + phi * of_phi)
        products = tuple(x / scale for x in _add(there, -1.0, by_theta * of_theta + by_phi * of_phi))
        return _split(products, len(theta) * of_theta)

    return by_theta, pullback


def _same_draws() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context in which torch's global generators draw what they would draw now; outside of it they go on undisturbed."""
    state = torch.get_rng_state()
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        with torch.random.fork_rng(devices=range(len(states))):
            torch.set_rng_state(state)
            for device, each in enumerate(states):
                torch.cuda.set_rng_state(each, device)
            yield

    return again


_RECORDERS = {
    ("exact", "store"): _record_graph,
    ("exact", "recompute"): _record_point,
    ("finite-difference", "store"): _record_difference,
    ("finite-difference", "recompute"): _record_difference,
}


def _gradient(outputs: Tensor | Vector, inputs: Vector, v: Vector | None = None, create_graph: bool = False) -> Vector:
    """v^T d outputs / d inputs (v = 1 for a scalar), zeros where nothing depends on an input."""
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    v = v or tuple(torch.ones_like(y) for y in outputs)
    pairs = [(y, w) for y, w in zip(outputs, v, strict=True) if y.requires_grad]
    if not pairs or not inputs:
        return tuple(torch.zeros_like(x) for x in inputs)
    ys, ws = zip(*pairs, strict=True)
    return torch.autograd.grad(ys, inputs, ws, create_graph=create_graph, materialize_grads=True)


def _same(x: Vector) -> Vector:
    return x


def _add(x: Vector, scale: float, y: Vector) -> Vector:
    """x + scale y, in a few kernels for all tensors together."""
    return tuple(torch._foreach_add(x, y, alpha=scale))


def _scaled(x: Vector, scale: float) -> Vector:
    return tuple(torch._foreach_mul(x, scale))


def _split(x: Vector, count: int) -> tuple[Vector, Vector]:
    return x[:count], x[count:]


def _leaves(tensors: Iterable[Tensor]) -> Vector:
    """The same values, as the points where differentiation ends; storage is shared and never written to."""
    return tuple(x.detach().requires_grad_() for x in tensors)


def _scalar(name: str, value: object) -> Tensor:
    if isinstance(value, Tensor) and value.ndim == 0:
        return value
    given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__} {value!r}"
    raise TrainingError(f"{name} returned {given}, expected a scalar tensor (shape ()): take the mean over the batch, without .item()")


def _mistakes(params: Mapping[str, Tensor], meta_params: Mapping[str, Tensor], buffers: Mapping[str, Tensor | None]) -> list[str]:
    mistakes = []
    for kind, tensors in (("params", params), ("meta_params", meta_params)):
        if not tensors:
            mistakes.append(f"{kind} is empty: pass at least one tensor")
        for name, x in tensors.items():
            if not x.is_floating_point():
                mistakes.append(f"{kind}[{name!r}] has dtype {x.dtype}, expected floating point: leave it to the loss")
    for name, b in buffers.items():
        if name not in params:
            mistakes.append(f"momentum_buffers[{name!r}] belongs to no parameter: use the names of params")
        elif b is not None and b.shape != params[name].shape:
            mistakes.append(f"momentum_buffers[{name!r}] has shape {tuple(b.shape)}, expected its parameter's {tuple(params[name].shape)}")
    return mistakes


def _mistakes_of_numbers(steps: int, learning_rate: float, momentum: float, weight_decay: float, displacement: float) -> list[str]:
    mistakes = []
    if not (isinstance(steps, int) and steps >= 1):
        mistakes.append(f"steps is {steps}, expected an integer of at least 1: without a step nothing depends on meta_params")
    for name, value in (("learning_rate", learning_rate), ("momentum", momentum), ("weight_decay", weight_decay)):
        if not (math.isfinite(value) and value >= 0):
            mistakes.append(f"{name} is {value}, expected a finite number of at least 0")
    if not (math.isfinite(displacement) and displacement > 0):
        mistakes.append(f"displacement is {displacement}, expected a finite number above 0")
    return mistakes
