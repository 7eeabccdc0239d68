import pytest
import torch
from sklearn.metrics import silhouette_score

from hubtune.proxies import msc


def test_is_scikit_learns(sample):
    rows, labels = sample
    assert msc(rows, labels) == pytest.approx(silhouette_score(rows.numpy(), labels.numpy()), abs=1e-9)


def test_an_image_alone_in_its_class_adds_zero(sample):
    rows, labels = sample
    labels = labels.clone()
    labels[0] = 9
    assert msc(rows, labels) == pytest.approx(silhouette_score(rows.numpy(), labels.numpy()), abs=1e-9)


def test_all_alone_is_zero():
    assert msc(torch.eye(4), torch.arange(4)) == 0.0


def test_points_far_apart_and_points_on_top_of_each_other():
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert msc(rows, torch.tensor([0, 0, 1, 1])) == 1.0
    assert msc(rows, torch.tensor([0, 1, 0, 1])) == pytest.approx(-0.5)
