import numpy as np
import pytest
import torch

from hubtune.proxies import Features, h_score


def between(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each row replaced by the mean of its class, centred."""
    means = np.stack([x[labels == c].mean(0) for c in labels])
    return means - means.mean(0)


def reference(rows: torch.Tensor, labels: torch.Tensor) -> float:
    x = rows.numpy() - rows.numpy().mean(0)
    b = between(x, labels.numpy())
    return float(np.trace(np.linalg.pinv(x.T @ x, rcond=1e-12, hermitian=True) @ b.T @ b))


def test_is_the_trace_of_the_paper(sample):
    rows, labels = sample
    assert h_score(rows, labels) == pytest.approx(reference(rows, labels), abs=1e-9)


def test_is_c_minus_one_whatever_the_labels_once_the_rank_is_n_minus_one(draw_sample):
    rows, labels = draw_sample(25, 40, 40, seed=4)
    shuffled = labels[torch.randperm(25, generator=torch.Generator().manual_seed(0))]
    assert h_score(rows, labels) == pytest.approx(3.0, abs=1e-9)
    assert h_score(rows, shuffled) == pytest.approx(3.0, abs=1e-9)


def test_any_invertible_map_of_the_features_changes_nothing(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=4)
    mixing = torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert h_score(rows @ mixing, labels) == pytest.approx(h_score(rows, labels), abs=1e-9)


def test_a_constant_and_a_repeated_feature_change_nothing(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=4)
    more = torch.cat([rows, rows[:, :2], torch.full((60, 1), 3.0)], 1)
    assert h_score(more, labels) == pytest.approx(h_score(rows, labels), abs=1e-9)


def test_a_direction_too_weak_for_a_linear_system_still_counts(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=4)
    weak = rows * torch.tensor([1.0] * 6 + [1e-5], dtype=torch.float64)
    assert h_score(weak, labels) == pytest.approx(h_score(rows, labels), abs=1e-4)


def test_float32_rounding_is_no_direction(draw_sample):
    rows, labels = draw_sample(30, 45, 5, seed=4)
    assert h_score(rows.float(), labels) == pytest.approx(h_score(rows, labels), abs=1e-4)


def test_full_rank_needs_no_decomposition(draw_sample, monkeypatch):
    monkeypatch.setattr(Features, "spectrum", None)
    for shape in ((60, 7, 7), (25, 40, 40)):
        rows, labels = draw_sample(*shape, seed=4)
        h_score(rows, labels)
        h_score(rows.float(), labels)
