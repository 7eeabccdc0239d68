import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from hubtune.errors import ConfigurationError
from hubtune.proxies import gbc


def reference(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for a, b in itertools.permutations(np.unique(y), 2):
        s1, s2 = x[y == a].var(0).mean(), x[y == b].var(0).mean()
        s = (s1 + s2) / 2
        gap = np.square(x[y == a].mean(0) - x[y == b].mean(0)).sum()
        total -= math.exp(-(gap / (8 * s) + x.shape[1] / 2 * math.log(s / math.sqrt(s1 * s2))))
    return total


def test_is_the_sum_over_ordered_pairs(sample):
    rows, labels = sample
    assert gbc(rows, labels) == pytest.approx(reference(rows.numpy(), labels.numpy()), rel=1e-9)


@pytest.mark.parametrize("dimensions", [1, 3, 64])
def test_principal_components_first(draw_sample, dimensions):
    rows, labels = draw_sample(90, 70, 70, seed=2)
    x = PCA(dimensions, svd_solver="full").fit_transform(rows.numpy())
    assert gbc(rows, labels, dimensions=dimensions) == pytest.approx(reference(x, labels.numpy()), rel=1e-9)


def test_more_components_than_the_rank_are_all(draw_sample):
    rows, labels = draw_sample(30, 45, 5, seed=2)
    assert gbc(rows, labels, dimensions=1000) == pytest.approx(gbc(rows, labels, dimensions=5), rel=1e-9)


def test_classes_that_are_alike_overlap_fully():
    rows = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(3, 1)
    assert gbc(rows, torch.arange(30) // 10) == pytest.approx(-6.0)


def test_the_unit_changes_nothing(sample):
    rows, labels = sample
    assert gbc(1e-3 * rows, labels) == pytest.approx(gbc(rows, labels), rel=1e-9)


def test_single_images_and_equal_images_stay_finite():
    rows = torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 5.0], [6.0, 4.0], [7.0, 7.0]])
    assert math.isfinite(gbc(rows, torch.tensor([0, 0, 1, 1, 2])))
    assert gbc(rows, torch.tensor([0, 0, 1, 2, 3])) == pytest.approx(0.0, abs=1e-6)


def test_dimensions_must_be_positive():
    with pytest.raises(ConfigurationError, match="dimensions: 0"):
        gbc(torch.eye(4), torch.tensor([0, 1, 0, 1]), dimensions=0)
