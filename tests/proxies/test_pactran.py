import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from hubtune.errors import ConfigurationError
from hubtune.proxies import pactran


def reference(rows: torch.Tensor, labels: torch.Tensor, temperature: float, prior: float) -> float:
    """The bound with weights in the space of the features, by Newton's method with the dense Hessian of all weights."""
    x = rows.numpy() - rows.numpy().mean(0)
    y = np.eye(4)[labels.numpy()]
    count, dim = x.shape
    variance = prior / dim
    beta = temperature * count / variance
    design = np.hstack([x, np.ones((count, 1))])
    decay = np.append(np.full(dim, 1 / (beta * variance)), 0.0)
    theta = np.zeros((dim + 1, 4))

    def bound(theta):
        logs = log_softmax(design @ theta, 1)
        return -(y * logs).sum() / count + 0.5 * (decay[:, None] * np.square(theta)).sum(), np.exp(logs)

    for _ in range(40):
        value, p = bound(theta)
        gradient = design.T @ (p - y) / count + decay[:, None] * theta
        spread = p[:, :, None] * (np.eye(4) - p[:, None, :])
        hessian = np.einsum("nd,ncb,ne->dceb", design, spread, design).reshape(theta.size, theta.size) / count
        hessian += np.diag(np.repeat(decay, 4))
        step = np.linalg.lstsq(hessian, gradient.ravel(), rcond=1e-13)[0].reshape(theta.shape)
        while bound(theta - step)[0] > value + 1e-12:
            step /= 2
        theta -= step
    value, p = bound(theta)
    trace = (np.square(x).T @ (p * (1 - p))).sum() / count
    return -(value + 4 * dim / (2 * beta) * math.log(1 + beta * variance * trace / (4 * dim)))


@pytest.mark.parametrize(("temperature", "prior"), [(1.0, 10.0), (0.1, 1.0), (10.0, 100.0)])
def test_is_the_bound(sample, temperature, prior):
    rows, labels = sample
    assert pactran(rows, labels, temperature=temperature, prior=prior) == pytest.approx(
        reference(rows, labels, temperature, prior), abs=1e-9
    )


def test_columns_of_zeros_change_only_the_size_of_the_prior(draw_sample):
    rows, labels = draw_sample(25, 10, 10, seed=1)
    wide = torch.cat([rows, torch.zeros(25, 40, dtype=torch.float64)], 1)
    assert pactran(wide, labels) >= pactran(rows, labels)


def test_float32_agrees(sample):
    rows, labels = sample
    assert pactran(rows.float(), labels) == pytest.approx(pactran(rows, labels), abs=1e-4)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"prior": -1.0}, {"prior": float("nan")}])
def test_settings_must_be_positive(options):
    with pytest.raises(ConfigurationError, match="temperature, prior"):
        pactran(torch.eye(4), torch.tensor([0, 1, 0, 1]), **options)
