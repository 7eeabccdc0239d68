import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from hubtune.proxies import h_score, h_score_regularized


def reference(rows: torch.Tensor, labels: torch.Tensor) -> float:
    x, y = rows.numpy() - rows.numpy().mean(0), labels.numpy()
    covariance, shrinkage = ledoit_wolf(x)
    means = np.stack([x[y == c].mean(0) for c in y])
    return float((1 - shrinkage) * np.trace(np.linalg.solve(covariance, means.T @ means / len(x))))


def test_is_the_trace_with_the_covariance_of_ledoit_and_wolf(sample):
    rows, labels = sample
    assert h_score_regularized(rows, labels) == pytest.approx(reference(rows, labels), abs=1e-9)


def test_nears_the_h_score_with_many_images(draw_sample):
    rows, labels = draw_sample(3000, 5, 5, seed=0)
    assert h_score_regularized(rows, labels) == pytest.approx(h_score(rows, labels), rel=1e-2)


def test_one_feature_has_nothing_to_shrink():
    rows = torch.tensor([[1.0], [2.0], [4.0], [5.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    assert h_score_regularized(rows, labels) == pytest.approx(h_score(rows, labels))


def test_float32_agrees(sample):
    rows, labels = sample
    assert h_score_regularized(rows.float(), labels) == pytest.approx(h_score_regularized(rows, labels), rel=1e-4)
