"""PACTran-Gaussian: a PAC-Bayesian bound on the loss of a linear classifier."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.proxies.prepared import Features, as_classes, as_features

# Both are far above what was ever needed: 10 and 40.
_NEWTON_STEPS, _INNER_STEPS = 100, 250
# The length of the gradient that ends the search.
_GRADIENT = 1e-11


def pactran(
    features: Float[Tensor, "N D"] | Features, labels: Int[Tensor, " N"], *, temperature: float = 1.0, prior: float = 10.0
) -> float:
    """Minus the PAC-Bayesian bound of softmax regression with a Gaussian prior and a Gaussian posterior around the optimum.

    With X (N, D) the centred features, L(W, b) the mean cross-entropy in nats of softmax(X W + b), a prior N(0, σ²) on each of the D C
    weights with σ² = prior / D, and the bound's inverse temperature β = temperature N / σ²,

        bound = min_{W, b} [L + |W|² / (2 β σ²)] + D C / (2 β) log(1 + β σ² / (D C) tr ∇²_W L),
        tr ∇²_W L = 1/N Σ_n |x_n|² Σ_c p_nc (1 - p_nc),   p = softmax(X W + b) at the minimum.

    The intercepts have no prior.

    Source: Ding et al., "PACTran: PAC-Bayesian Metrics for Estimating the Transferability of Pretrained Models to Classification Tasks",
    ECCV 2022, section 4.3; the defaults are one of the settings of its published code.
    Differs from the paper: its published code sums ∇² over the images though L is their mean, and adds the intercepts to the trace.
    Needs: features and labels.
    Cost: one eigendecomposition of the smaller Gram matrix and about 200 products of N x k by k x C (k the rank), by Newton's method
    with conjugate gradients; 1.5 s of CPU at N = 1000, D = 2048, 100 classes.
    Number: minus nats for an image, at most 0. It depends on the unit of the features, as a prior on weights must.

    Args:
        features: (N, D), a tensor or a prepared value.
        labels: (N,) whole numbers.
        temperature: β σ² / N > 0.
        prior: σ² D > 0.

    Returns:
        Minus the bound.

    Raises:
        DataError: bad features or labels, or one class.
        ConfigurationError: temperature or prior is not positive.
    """
    if not (0.0 < temperature < math.inf and 0.0 < prior < math.inf):
        raise ConfigurationError(f"temperature, prior: {temperature}, {prior} given, positive numbers expected")
    prepared = as_features(features)
    classes = as_classes(labels, len(prepared))
    spectrum = prepared.spectrum()
    # |W|² and X W stay the same in the coordinates of the principal components, of which there are k <= min(N - 1, D).
    rows = spectrum.basis.double() * (spectrum.values.double().sqrt() * prepared.scale)
    spread = temperature * len(prepared)
    loss, answers = _minimum(rows, classes.one_hot().to(rows.device), spread)
    trace = float((rows.square().sum(1) * (1.0 - answers.square().sum(1))).mean())
    weights = prepared.dim * len(classes)
    flatness = 0.5 * len(classes) * prior / spread * math.log1p(spread * trace / weights)
    return -(loss + flatness)


def _minimum(rows: Float[Tensor, "N k"], targets: Float[Tensor, "N C"], spread: float) -> tuple[float, Float[Tensor, "N C"]]:
    """The least mean cross-entropy + |W|² / (2 spread), by Newton's method, and the probabilities there."""
    count = len(rows)
    # A unit of each direction that lies between its own and the one of curvature one took the fewest iterations of all tried.
    unit = (rows.square().sum(0) * (0.25 / count) + 1.0 / spread) ** -0.25
    scaled = torch.cat([rows * unit, rows.new_ones(count, 1)], 1)
    decay = torch.cat([unit.square() / spread, unit.new_zeros(1)])[:, None]

    def loss_at(point: Tensor) -> tuple[float, Tensor]:
        logs = (scaled @ point).log_softmax(1)
        return float(0.5 * (decay * point.square()).sum() - (targets * logs).sum() / count), logs.exp()

    point = rows.new_zeros(scaled.shape[1], targets.shape[1])
    loss, answers = loss_at(point)
    for _ in range(_NEWTON_STEPS):
        gradient = scaled.T @ (answers - targets) / count + decay * point
        if float(gradient.norm()) < _GRADIENT:
            break

        def curve(direction: Tensor, answers: Tensor = answers) -> Tensor:
            change = answers * (scaled @ direction)
            return scaled.T @ (change - answers * change.sum(1, keepdim=True)) / count + decay * direction

        direction = _conjugate_gradients(curve, -gradient)
        step, (after, there) = 1.0, loss_at(point + direction)
        # The slack lets the last step through, whose gain is lost in rounding.
        while after > loss + 1e-14 and step > 1e-6:
            step *= 0.5
            after, there = loss_at(point + step * direction)
        point, loss, answers = point + step * direction, after, there
    return loss, answers


def _conjugate_gradients(curve: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Solves curve(x) = right, to a part of its length that shrinks with it: far from the minimum, a rough step does."""
    length = float(right.norm())
    goal = min(0.25, length**0.5) * length
    solution, rest, direction = torch.zeros_like(right), right, right
    square = length * length
    for _ in range(_INNER_STEPS):
        curved = curve(direction)
        curvature = float((direction * curved).sum())
        # Where all probabilities are 0 or 1 to the last digit, the intercepts have none: the gradient itself must do.
        if curvature <= 0.0:
            return solution if bool(solution.any()) else right
        stride = square / curvature
        solution, rest = solution + stride * direction, rest - stride * curved
        before, square = square, float(rest.square().sum())
        if square**0.5 < goal:
            break
        direction = rest + (square / before) * direction
    return solution
