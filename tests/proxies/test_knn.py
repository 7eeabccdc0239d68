import sys

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from hubtune.errors import ConfigurationError, DataError
from hubtune.proxies import Features, knn_accuracy


@pytest.fixture
def case(draw_sample):
    rows, labels = draw_sample(90, 8, 8, seed=6)
    return rows[:60], labels[:60], rows[60:], labels[60:]


def test_one_neighbour_is_scikit_learns(case):
    train, labels, val, wanted = case
    known = KNeighborsClassifier(1).fit(train.numpy(), labels.numpy()).score(val.numpy(), wanted.numpy())
    assert knn_accuracy(*case) == pytest.approx(known, abs=1e-12)
    assert knn_accuracy(Features(train), labels, val, wanted) == knn_accuracy(*case)
    assert knn_accuracy(train.float(), labels, val.float(), wanted) == knn_accuracy(*case)


@pytest.mark.parametrize("k", [2, 3, 4, 60])
def test_votes_by_brute_force(case, k):
    train, labels, val, wanted = case
    right = 0
    for image, label in zip(val, wanted, strict=True):
        voters = labels[(train - image).square().sum(1).argsort(stable=True)[:k]].tolist()
        # max takes the first of equals: the nearest voter of a class with the most votes.
        right += max(voters, key=voters.count) == int(label)
    assert knn_accuracy(*case, k=k) == pytest.approx(right / len(val), abs=1e-12)


def test_equal_distances_go_to_the_first_training_image():
    train, val = torch.tensor([[1.0], [-1.0], [1.0]]), torch.tensor([[0.0]])
    assert knn_accuracy(train, torch.tensor([3, 5, 7]), val, torch.tensor([3])) == 1.0
    assert knn_accuracy(train, torch.tensor([5, 3, 7]), val, torch.tensor([3])) == 0.0


def test_equal_votes_go_to_the_nearest():
    train, val = torch.tensor([[3.0], [1.0], [2.0], [4.0]]), torch.tensor([[0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    assert knn_accuracy(train, labels, val, torch.tensor([1]), k=4) == 1.0


@pytest.mark.parametrize("values", [1, 100, 1000])
def test_memory_held_at_once_changes_nothing(case, values, monkeypatch):
    expected = knn_accuracy(*case, k=3)
    monkeypatch.setattr(sys.modules["hubtune.proxies.knn"], "_CHUNK", values)
    assert knn_accuracy(*case, k=3) == expected


def test_differences_far_below_the_size_of_the_features_decide():
    train = torch.tensor([[1e8, 1.0], [1e8, 1.0 + 2e-8], [0.0, 0.0]], dtype=torch.float64)
    val = torch.tensor([[1e8, 1.0 + 1.8e-8]], dtype=torch.float64)
    assert knn_accuracy(train, torch.tensor([0, 1, 2]), val, torch.tensor([1])) == 1.0


def test_a_class_without_training_images_is_wrong(case):
    train, labels, val, wanted = case
    assert knn_accuracy(train, labels, val, torch.full_like(wanted, 9)) == 0.0


@pytest.mark.wrong_shapes
def test_bad_input_is_refused(case):
    train, labels, val, wanted = case
    with pytest.raises(ConfigurationError, match=r"k: 0 given .* 1 \.\. 60"):
        knn_accuracy(*case, k=0)
    with pytest.raises(ConfigurationError, match="k: 61"):
        knn_accuracy(*case, k=61)
    with pytest.raises(DataError, match="val_features: 7 values for an image given, 8"):
        knn_accuracy(train, labels, val[:, :7], wanted)
    with pytest.raises(DataError, match="val_labels: 29 given for 30"):
        knn_accuracy(train, labels, val, wanted[:29])
