import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifierCV

from hubtune.errors import ConfigurationError
from hubtune.proxies import Features, loo_ridge_accuracy


def by_refitting(rows: torch.Tensor, labels: torch.Tensor, penalty: float) -> float:
    x, y = rows.numpy(), np.eye(4)[labels.numpy()]
    right = 0
    for left_out in range(len(x)):
        kept = np.arange(len(x)) != left_out
        model = Ridge(alpha=penalty).fit(x[kept], y[kept])
        right += int(model.predict(x[left_out : left_out + 1])[0].argmax() == labels[left_out])
    return right / len(x)


@pytest.mark.parametrize("penalty", [0.1, 3.0, 100.0])
def test_is_what_refitting_without_each_image_gives(sample, penalty):
    rows, labels = sample
    assert loo_ridge_accuracy(rows, labels, penalties=[penalty]) == pytest.approx(by_refitting(rows, labels, penalty), abs=1e-12)


def test_the_best_penalty_counts(draw_sample):
    rows, labels = draw_sample(60, 7, 7, seed=3)
    penalties = [1e-3, 1.0, 1e2, 1e4]
    assert loo_ridge_accuracy(rows, labels, penalties=penalties) == max(loo_ridge_accuracy(rows, labels, penalties=[p]) for p in penalties)
    known = RidgeClassifierCV(alphas=penalties, scoring="accuracy").fit(rows.numpy(), labels.numpy())
    assert loo_ridge_accuracy(rows, labels, penalties=penalties) == pytest.approx(known.best_score_)


def test_default_penalties_follow_the_unit_of_the_features(sample):
    rows, labels = sample
    spread = float((rows - rows.mean(0)).square().sum(1).mean())
    by_hand = loo_ridge_accuracy(rows, labels, penalties=[spread * 10.0**power for power in range(-4, 5)])
    assert loo_ridge_accuracy(rows, labels) == by_hand
    assert loo_ridge_accuracy(1000 * rows, labels) == by_hand


def test_noise_is_no_better_than_chance():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 300, generator=generator)
    assert loo_ridge_accuracy(rows, torch.arange(200) % 2) < 0.65


def test_a_vanishing_penalty_on_wide_features_stays_finite(draw_sample):
    rows, labels = draw_sample(25, 40, 40, seed=3)
    assert loo_ridge_accuracy(rows, labels, penalties=[1e-9]) == pytest.approx(by_refitting(rows, labels, 1e-9), abs=1e-12)


def test_float32_and_prepared_features_agree(sample):
    rows, labels = sample
    assert loo_ridge_accuracy(Features(rows.float()), labels) == pytest.approx(loo_ridge_accuracy(rows, labels), abs=2.1 / len(rows))


@pytest.mark.parametrize("penalties", [[], [0.0], [1.0, float("inf")], [-1.0]])
def test_penalties_must_be_positive(penalties):
    with pytest.raises(ConfigurationError, match="penalties"):
        loo_ridge_accuracy(torch.eye(4), torch.tensor([0, 1, 0, 1]), penalties=penalties)
