import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from hubtune.errors import DataError
from hubtune.proxies import Features, logme


def log_density(ratio: float, y: np.ndarray, x: np.ndarray) -> float:
    """log N(y; 0, s² (I + X Xᵀ / t)) at the best s², by dense linear algebra."""
    count = len(y)
    covariance = np.eye(count) + x @ x.T / ratio
    noise = y @ np.linalg.solve(covariance, y) / count
    return -0.5 * count * (math.log(2 * math.pi * noise) + 1) - 0.5 * np.linalg.slogdet(covariance)[1]


def reference(x: np.ndarray, targets: np.ndarray) -> float:
    top = np.linalg.eigvalsh(x @ x.T)[-1]
    total = 0.0
    for y in targets.T:
        grid = np.log(top) + np.linspace(-25, 25, 400)
        best = grid[np.argmax([log_density(np.exp(u), y, x) for u in grid])]
        result = minimize_scalar(lambda u, y=y: -log_density(np.exp(u), y, x), bounds=(best - 0.2, best + 0.2), options={"xatol": 1e-10})
        total -= result.fun
    return total / targets.size


def one_hot(labels: torch.Tensor) -> np.ndarray:
    return np.eye(int(labels.max()) + 1)[labels.numpy()]


def test_is_the_maximum_of_the_dense_evidence(sample):
    rows, labels = sample
    assert logme(rows, labels) == pytest.approx(reference(rows.numpy(), one_hot(labels)), abs=1e-9)


def test_regression_targets(sample):
    rows, _ = sample
    targets = torch.stack([rows[:, 0] + 0.3 * torch.sin(torch.arange(len(rows)).double()), torch.cos(3 * rows[:, 1]) + 2], 1)
    assert logme(rows, targets) == pytest.approx(reference(rows.numpy(), targets.numpy()), abs=1e-9)
    assert logme(rows, targets[:, 0]) == pytest.approx(reference(rows.numpy(), targets[:, :1].numpy()), abs=1e-9)


@pytest.mark.parametrize("shape", [(60, 7, 7), (25, 40, 40)])
def test_the_fixed_point_equations_of_the_paper_hold_there(draw_sample, shape):
    rows, labels = draw_sample(*shape, seed=1)
    # Classes that the features tell only in part: else the noise has no fixed point but zero.
    labels[::3] = labels[::3].flip(0)
    x, y = rows.numpy(), one_hot(labels)[:, 1]
    alpha, beta = 1.0, 1.0
    count, dim = x.shape
    values, vectors = np.linalg.eigh(x.T @ x)
    for _ in range(20000):
        mean = vectors @ (beta * (vectors.T @ (x.T @ y)) / (alpha + beta * values))
        gamma = (beta * values / (alpha + beta * values)).sum()
        before, alpha, beta = alpha, gamma / (mean @ mean), (count - gamma) / np.square(y - x @ mean).sum()
        if abs(alpha - before) < 1e-13 * alpha:
            break
    precision = alpha * np.eye(dim) + beta * x.T @ x
    mean = beta * np.linalg.solve(precision, x.T @ y)
    evidence = 0.5 * (count * math.log(beta) + dim * math.log(alpha) - count * math.log(2 * math.pi) - np.linalg.slogdet(precision)[1])
    evidence -= 0.5 * (beta * np.square(y - x @ mean).sum() + alpha * mean @ mean)
    assert logme(rows, torch.tensor(y)) == pytest.approx(evidence / count, abs=1e-9)


def test_columns_of_zeros_change_nothing_on_either_side_of_n(draw_sample):
    rows, labels = draw_sample(20, 12, 12, seed=2)
    wide = torch.cat([rows, torch.zeros(20, 30, dtype=torch.float64)], 1)
    assert logme(wide, labels) == pytest.approx(logme(rows, labels), abs=1e-10)


def test_the_unit_of_the_features_changes_nothing(sample):
    rows, labels = sample
    assert logme(1000 * rows, labels) == pytest.approx(logme(rows, labels), abs=1e-10)


def test_a_class_that_does_not_occur_adds_nothing(sample):
    rows, labels = sample
    assert logme(rows, labels * 5) == logme(rows, labels)


def test_float32_agrees_to_five_digits(sample):
    rows, labels = sample
    assert logme(rows.float(), labels) == pytest.approx(logme(rows, labels), abs=1e-4)


def test_labels_without_noise_and_labels_of_noise_only_stay_finite(draw_sample):
    rows, _ = draw_sample(60, 7, 7, seed=1)
    assert math.isfinite(logme(rows, rows[:, 0]))
    noise = torch.linalg.qr(torch.cat([rows, torch.eye(60, dtype=torch.float64)[:, :5]], 1)).Q[:, -1]
    spread = float(noise.square().mean())
    assert logme(rows, noise) == pytest.approx(-0.5 * (math.log(2 * math.pi * spread) + 1), abs=1e-9)


def test_prepared_features_give_the_same(sample):
    rows, labels = sample
    assert logme(Features(rows), labels) == logme(rows, labels)


@pytest.mark.wrong_shapes
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(5, 2), "target 0 is zero for every image"),
        (torch.tensor([1.0, 2.0, float("nan"), 3.0, float("inf")]), "2 of 5 targets are not finite"),
        (torch.ones(4), r"targets of shape \(4,\) given for 5 images"),
        (torch.ones(5, 2, 2), r"targets of shape \(5, 2, 2\)"),
    ],
)
def test_bad_targets_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        logme(torch.eye(5), targets)
