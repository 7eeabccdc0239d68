import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.errors import ConfigurationError
from hubtune.tasks.split import Split
from hubtune.tasks.store import ImageStore


@pytest.fixture
def split(pictures):
    store = ImageStore([pictures.png(i) for i in range(6)])
    return Split(store, [5, 3, 1, 0], torch.tensor([0, 1, 0, 1]), ["e", "c", "b", "a"])


def test_rows_targets_and_ids_belong_together(split, pictures):
    expected = torch.stack([torch.from_numpy(pictures.array(i)).permute(2, 0, 1) for i in (5, 3, 1, 0)])
    assert torch.equal(split.canvas(range(4), None), expected)
    chosen = split.select([2, 0])
    assert torch.equal(chosen.canvas([0, 1], None), expected[[2, 0]])
    assert (chosen.targets.tolist(), chosen.ids) == ([0, 0], ("b", "e"))
    assert split.native_size == (8, 8)


@pytest.mark.parametrize("indices", [[2, 1], torch.tensor([2, 1]), np.array([2, 1]), slice(1, 3)])
def test_indices_of_any_kind(split, indices):
    order = [1, 2] if isinstance(indices, slice) else [2, 1]
    assert torch.equal(split.canvas(indices, 4), torch.stack([split.canvas([i], 4)[0] for i in order]))


@given(st.integers(1, 6))
def test_take_keeps_the_first_rows(n):
    store = ImageStore([np.full((2, 2), i, np.uint8) for i in range(4)])
    split = Split(store, range(4), torch.arange(4), "abcd")
    taken = split.take(n)
    assert taken.targets.tolist() == list(range(min(n, 4)))
    assert taken.image_keys == split.image_keys[:n]


def test_fingerprints_follow_content_and_order_only(split, pictures):
    other = ImageStore([pictures.png(i) for i in (5, 3, 1, 0)])
    renamed = Split(other, range(4), split.targets, "wxyz")
    assert renamed.fingerprint == split.fingerprint
    assert renamed.labels_fingerprint == split.labels_fingerprint
    assert split.select([1, 0, 2, 3]).fingerprint != split.fingerprint
    assert split.take(3).fingerprint != split.fingerprint
    changed = Split(split.store, split.rows, torch.tensor([0, 1, 0, 0]), split.ids)
    assert changed.fingerprint == split.fingerprint
    assert changed.labels_fingerprint != split.labels_fingerprint
    assert Split(split.store, [5, 3, 1, 4], split.targets, split.ids).fingerprint != split.fingerprint


def test_as_many_of_each(split):
    with pytest.raises(ConfigurationError, match="given 1 images, 2 targets and 1 ids"):
        Split(split.store, [0], torch.tensor([0, 1]), ["a"])
