import numpy as np
import pytest
import torch

from hubtune.errors import ConfigurationError
from hubtune.proxies import transrate


def rate(z: np.ndarray, epsilon: float) -> float:
    return 0.5 * np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * epsilon))[1]


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_is_the_difference_of_coding_rates(sample, epsilon):
    rows, labels = sample
    z = rows.numpy() - rows.numpy().mean(0)
    z /= np.sqrt(np.trace(z.T @ z))
    y = labels.numpy()
    expected = rate(z, epsilon) - sum((y == c).mean() * rate(z[y == c], epsilon) for c in range(4))
    assert transrate(rows, labels, epsilon=epsilon) == pytest.approx(expected, abs=1e-9)


def test_is_zero_where_every_class_looks_like_the_whole():
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(2, 1)
    assert transrate(rows, torch.arange(40) // 20) == pytest.approx(0.0, abs=1e-10)


def test_columns_of_zeros_and_the_unit_change_nothing(sample):
    rows, labels = sample
    wide = torch.cat([100 * rows, torch.zeros(len(rows), 60, dtype=torch.float64)], 1)
    assert transrate(wide, labels) == pytest.approx(transrate(rows, labels), abs=1e-10)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ConfigurationError, match="epsilon"):
        transrate(torch.eye(3), torch.tensor([0, 0, 1]), epsilon=epsilon)
