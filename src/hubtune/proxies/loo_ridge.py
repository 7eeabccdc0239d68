"""Leave-one-out ridge classification: a validation accuracy that spends no image on validation."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.proxies.prepared import Features, as_classes, as_features

# Relative to the mean squared distance of an image from the mean.
_RELATIVE_PENALTIES = tuple(10.0**power for power in range(-4, 5))


def loo_ridge_accuracy(
    features: Float[Tensor, "N D"] | Features, labels: Int[Tensor, " N"], *, penalties: Sequence[float] | None = None
) -> float:
    """The leave-one-out accuracy of a ridge classifier, at its best penalty.

    For each penalty p, weights W (D, C) and intercepts b (C,) minimise |Y - F W - 1 bᵀ|² + p |W|², Y (N, C) one-hot. With the centred
    F = U diag(√λ) Vᵀ and h_n = 1/N + Σ_i U_ni² λ_i / (λ_i + p), the model fitted without image n would answer it with

        Y_n - E_n / (1 - h_n),   E = Y - (1 bᵀ + F W),

    exactly, so one decomposition gives the N models of all penalties. An image is right where its own class has the largest answer.

    Source: Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", equation 7.64; as a proxy, none.
    Differs from the paper: none to differ from.
    Needs: features and labels.
    Cost: one eigendecomposition of the smaller Gram matrix; 0.17 s of CPU at N = 1000, D = 2048, 100 classes, 9 penalties, float32.
    Number: an accuracy, 0 to 1, of a linear classifier on new images; optimistic by the choice among few penalties.

    Args:
        features: (N, D), a tensor or a prepared value.
        labels: (N,) whole numbers.
        penalties: p > 0 to try; by default 1e-4 .. 1e4 times the mean squared distance of an image from the mean.

    Returns:
        The best leave-one-out accuracy.

    Raises:
        DataError: bad features or labels, or one class.
        ConfigurationError: no penalties, or one that is not a positive number.
    """
    if penalties is not None and not (len(penalties) and all(0.0 < p < math.inf for p in penalties)):
        raise ConfigurationError(f"penalties: {list(penalties)} given, positive numbers expected")
    prepared = as_features(features)
    classes = as_classes(labels, len(prepared))
    spectrum = prepared.spectrum()
    basis, values = spectrum.basis, spectrum.values
    index = classes.index.to(basis.device)
    centred = (classes.one_hot() - classes.counts / len(prepared)).to(basis)
    coefficients = basis.T @ centred
    squares = basis.square()
    # What no direction reaches; nothing of either where N <= D.
    errors_beyond = centred - basis @ coefficients
    room_beyond = (1.0 - 1.0 / len(prepared) - squares.sum(1)).clamp(min=0.0)
    if penalties is None:
        spread = float(prepared.gram(basis.dtype).diagonal().sum()) / len(prepared)
        tried = [penalty * spread for penalty in _RELATIVE_PENALTIES]
    else:
        tried = [penalty / prepared.scale**2 for penalty in penalties]
    best = 0.0
    for penalty in tried:
        # What a direction leaves of the labels, p / (λ + p), rather than what it takes: the difference from 1 would round away.
        left = penalty / (penalty + values)
        errors = torch.addmm(errors_beyond, basis, coefficients * left[:, None])
        room = (room_beyond + squares @ left).clamp(min=torch.finfo(basis.dtype).tiny)
        answers = errors.div_(-room[:, None])
        answers[torch.arange(len(prepared), device=basis.device), index] += 1.0
        best = max(best, float((answers.argmax(1) == index).double().mean()))
    return best
