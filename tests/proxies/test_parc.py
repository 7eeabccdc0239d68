import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.preprocessing import StandardScaler

from hubtune.proxies import parc


def reference(rows: torch.Tensor, labels: torch.Tensor) -> float:
    x = StandardScaler().fit_transform(rows.numpy())
    one_hot = np.eye(int(labels.max()) + 1)[labels.numpy()]
    pairs = np.triu_indices(len(x), 1)
    features, targets = 1 - np.corrcoef(x), (1 - np.corrcoef(one_hot)).round(9)
    return float(spearmanr(features[pairs].round(12), targets[pairs]).statistic)


def test_is_spearmans_correlation_with_ties(sample):
    rows, labels = sample
    assert parc(rows, labels) == pytest.approx(reference(rows, labels), abs=1e-9)


def test_equal_feature_distances_share_their_rank():
    rows = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 3.0, 2.0]], dtype=torch.float64)[[0, 1, 2, 0, 1, 2, 0, 1]]
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 0])
    assert parc(rows, labels) == pytest.approx(reference(rows, labels), abs=1e-9)


def test_the_unit_of_each_feature_changes_nothing(sample):
    rows, labels = sample
    scales = torch.logspace(-3, 3, rows.shape[1], dtype=torch.float64)
    assert parc(rows * scales + 5, labels) == pytest.approx(parc(rows, labels), abs=1e-6)


def test_nothing_to_correlate_is_zero():
    generator = torch.Generator().manual_seed(0)
    assert parc(torch.randn(6, 1, generator=generator), torch.tensor([0, 1, 0, 1, 0, 1])) == 0.0
    assert parc(torch.randn(6, 5, generator=generator), torch.arange(6)) == 0.0


def test_a_constant_feature_changes_only_what_standardising_does(draw_sample):
    rows, labels = draw_sample(40, 6, 6, seed=0)
    rows = torch.cat([rows, torch.full((40, 1), 2.0, dtype=torch.float64)], 1)
    assert parc(rows, labels) == pytest.approx(reference(rows, labels), abs=1e-9)
