import math

import numpy as np
import pytest
import torch

from hubtune.errors import DataError
from hubtune.proxies import leep, nce


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(40, 9, generator=generator, dtype=torch.float64).mul(2).softmax(1)
    return probs, torch.randint(4, (40,), generator=generator)


def reference(probs: np.ndarray, labels: np.ndarray) -> float:
    joint = np.zeros((labels.max() + 1, probs.shape[1]))
    for theta, y in zip(probs, labels, strict=True):
        joint[y] += theta / len(labels)
    total = 0.0
    for theta, y in zip(probs, labels, strict=True):
        total += math.log(sum(joint[y, z] / joint[:, z].sum() * theta[z] for z in range(probs.shape[1]) if joint[:, z].sum() > 0))
    return total / len(labels)


def test_is_the_sum_of_the_paper(case):
    probs, labels = case
    assert leep(probs, labels) == pytest.approx(reference(probs.numpy(), labels.numpy()), abs=1e-12)


def test_a_source_class_without_mass_adds_zero(case):
    probs, labels = case
    wider = torch.cat([probs, torch.zeros(40, 3, dtype=torch.float64)], 1)
    assert leep(wider, labels) == pytest.approx(leep(probs, labels), abs=1e-14)


def test_uniform_probabilities_know_only_the_shares(case):
    _, labels = case
    shares = torch.bincount(labels).double() / 40
    assert leep(torch.full((40, 5), 0.2), labels) == pytest.approx(float((shares * shares.log()).sum()), abs=1e-6)


def test_certain_probabilities_give_nce(case):
    probs, labels = case
    certain = torch.nn.functional.one_hot(probs.argmax(1), 9).double()
    assert leep(certain, labels) == pytest.approx(nce(probs.argmax(1), labels), abs=1e-12)


def test_never_above_zero_and_zero_only_if_the_source_tells_all():
    assert leep(torch.eye(3)[[0, 0, 1, 2]], torch.tensor([1, 1, 0, 0])) == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision_agrees(case, dtype):
    probs, labels = case
    assert leep(probs.to(dtype), labels) == pytest.approx(leep(probs, labels), abs=0.02)


@pytest.mark.parametrize("tiny", [1e-300, 5e-324])
def test_vanishing_probabilities_stay_finite(tiny):
    probs = torch.tensor([[1.0, tiny], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert math.isfinite(leep(probs, torch.tensor([0, 1, 1])))


def test_logits_are_refused_with_a_hint(case):
    _, labels = case
    with pytest.raises(DataError, match=r"40 of 40 rows are not probabilities .* apply softmax"):
        leep(torch.linspace(-3, 5, 40 * 6).view(40, 6), labels)
