import math

import pytest
import torch
from sklearn.metrics import mutual_info_score

from hubtune.errors import DataError
from hubtune.proxies import nce


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (60,), generator=generator)
    return torch.where(torch.rand(60, generator=generator) < 0.6, labels, torch.randint(7, (60,), generator=generator)), labels


def test_is_mutual_information_less_entropy(case):
    sources, labels = case
    shares = torch.bincount(labels).double() / 60
    expected = mutual_info_score(sources.numpy(), labels.numpy()) + float((shares * shares.log()).sum())
    assert nce(sources, labels) == pytest.approx(expected, abs=1e-12)


def test_numbering_of_either_side_is_free(case):
    sources, labels = case
    assert nce(sources * 1000 + 3, 7 - labels) == pytest.approx(nce(sources, labels), abs=1e-12)


def test_from_minus_the_entropy_to_zero():
    labels = torch.tensor([0, 0, 1, 1])
    assert nce(torch.tensor([5, 5, 2, 2]), labels) == 0.0
    assert nce(torch.tensor([0, 1, 0, 1]), labels) == pytest.approx(-math.log(2))
    assert nce(torch.tensor([4, 4, 4, 4]), labels) == pytest.approx(-math.log(2))


@pytest.mark.wrong_shapes
def test_bad_source_labels_are_refused():
    with pytest.raises(DataError, match="source_labels"):
        nce(torch.rand(4), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(DataError, match="4 given for 3 images"):
        nce(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1, 1]))
