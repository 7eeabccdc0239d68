"""LogME: how probable the labels are under a Bayesian linear model of the features, at its best prior."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import DataError
from hubtune.proxies.prepared import Features, as_classes, as_features

# log10 of the noise-to-prior ratio over the largest eigenvalue: 24 decades, four points in each.
_GRID = (-12.0, 12.0, 97)


def logme(
    features: Float[Tensor, "N D"] | Features,
    labels: Int[Tensor, " N"] | Float[Tensor, " N"] | Float[Tensor, "N K"],
) -> float:
    """The maximum log evidence of the labels for an image, averaged over classes or targets.

    A target y (N,) is modelled as F w + noise with w ~ N(0, I / α) and noise ~ N(0, I / β), so y ~ N(0, I / β + F Fᵀ / α). With
    F Fᵀ = U diag(λ) Uᵀ of rank k, z = Uᵀ y, t = α / β and q_i = t / (t + λ_i), the best noise variance at a given t is

        s²(t) = (|y|² - |z|² + Σ_i q_i z_i²) / N,

    and what is left is one curve in t for each target,

        log p(y | F, t) = -N/2 (log 2π + 1 + log s²) - 1/2 Σ_{i<=k} log(1 + λ_i / t).

    Its highest point is found on a grid and refined by bisection of the slope; there the fixed-point equations of the paper,
    γ = Σ λ_i / (t + λ_i), α |m|² = γ, β |y - F m|² = N - γ, hold. Returns the mean over targets of log p / N.

    Source: You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021, sections 3 and 4.
    Differs from the paper: its published code stops iterating early, and for N < D counts (D - k) / 2 log α that the determinant
    cancels. Here the evidence is exact, so columns of zeros, the unit and a rotation of the features change nothing, and models of
    different feature_dim are comparable. Of several fixed points the best is taken, wherever an iteration would start.
    Needs: features and labels.
    Cost: one eigendecomposition of the smaller Gram matrix; 0.15 s of CPU at N = 1000, D = 2048, 100 classes, float32.
    Number: nats for an image and target, of a density: no upper bound, higher is better; compare only on the same labels.

    Args:
        features: (N, D), a tensor or a prepared value.
        labels: (N,) whole numbers for classes (one-hot targets of those that occur); floating (N,) or (N, K) for regression.

    Returns:
        The mean log evidence. Targets that the features explain without any noise have none; they get its value at t = 1e-12 max λ.

    Raises:
        DataError: bad features or labels, one class, or a regression target that is zero everywhere.
    """
    prepared = as_features(features)
    targets = _targets(labels, len(prepared)).to(prepared.rows.device)
    spectrum = prepared.spectrum(centered=False)
    values = spectrum.values.double()
    goal = targets.to(spectrum.basis.dtype)
    parts = spectrum.basis.T @ goal
    # From what is left over, not as a difference of squares: with little noise, that would be rounding errors only.
    rest = (goal - spectrum.basis @ parts).double().square().sum(0)
    evidence = _maximum_evidence(values, parts.T.double().square(), rest, len(prepared))
    return float(evidence.mean()) / len(prepared)


def _targets(labels: Tensor, count: int) -> Float[Tensor, "N K"]:
    if not (isinstance(labels, Tensor) and labels.is_floating_point()):
        return as_classes(labels, count).one_hot()
    targets = labels.detach().double()
    targets = targets[:, None] if targets.dim() == 1 else targets
    if targets.dim() != 2 or len(targets) != count or targets.shape[1] == 0:
        raise DataError(f"labels: targets of shape {tuple(labels.shape)} given for {count} images; ({count},) or ({count}, K) expected")
    if not bool(targets.isfinite().all()):
        raise DataError(f"labels: {int((~targets.isfinite()).sum())} of {targets.numel()} targets are not finite; drop those images")
    size = targets.abs().amax(0)
    if bool((size == 0).any()):
        raise DataError(f"labels: target {int((size == 0).nonzero()[0])} is zero for every image; drop it")
    return targets


def _maximum_evidence(
    values: Float[Tensor, " k"],
    energy: Float[Tensor, "K k"],
    rest: Float[Tensor, " K"],
    count: int,
) -> Float[Tensor, " K"]:
    """The highest log evidence of each target over the ratio t = α / β.

    Args:
        values: λ, in any unit.
        energy: z² of each target.
        rest: |y|² - |z|², what no weights can explain.
        count: N.
    """

    def slope(ratio: Float[Tensor, "K 1"]) -> Float[Tensor, " K"]:
        """Twice d log p / d log t."""
        share = ratio / (ratio + values)
        explained = 1.0 - share
        return explained.sum(1) - count * (energy * share * explained).sum(1) / (rest + (energy * share).sum(1))

    def evidence(share: Tensor, unexplained: Tensor) -> Tensor:
        # log(1 + λ/t) = -log q
        return 0.5 * share.log().sum(1, keepdim=True) - 0.5 * count * (math.log(2 * math.pi) + 1.0 + (unexplained / count).log())

    grid = torch.linspace(*_GRID, dtype=torch.float64, device=values.device) * math.log(10.0) + values[-1].log()
    share = torch.sigmoid(grid[:, None] - values.log())
    curve = evidence(share, rest + share @ energy.T)
    best = curve.argmax(0)
    low, high = grid[(best - 1).clamp(min=0)], grid[(best + 1).clamp(max=len(grid) - 1)]
    # The evidence is flat at its top: a bracket of 1e-6 leaves an error of 1e-12.
    for _ in range(20):
        middle = 0.5 * (low + high)
        rising = slope(middle.exp()[:, None]) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    share = torch.sigmoid(0.5 * (low + high)[:, None] - values.log())
    refined = evidence(share, (rest + (energy * share).sum(1))[:, None])[:, 0]
    return torch.maximum(refined, curve.gather(0, best[None])[0])
