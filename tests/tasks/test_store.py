import gc
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from hubtune.errors import DataError
from hubtune.tasks import store as store_module
from hubtune.tasks.images import squash
from hubtune.tasks.store import DecodedBudget, ImageStore


@pytest.fixture
def budget(monkeypatch):
    fresh = DecodedBudget(limit=2**20)
    monkeypatch.setattr(store_module, "BUDGET", fresh)
    return fresh


def chw(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@pytest.mark.parametrize("limit", [0, 500, 2**20])
@pytest.mark.parametrize("size", [None, 8, 5, 11])
def test_a_canvas_is_the_pixels_whatever_is_cached(pictures, budget, limit, size):
    budget.limit = limit
    images = ImageStore([pictures.png(i) for i in range(5)])
    rows = [3, 0, 3, 4]
    expected = torch.stack([chw(squash(pictures.array(i), size or 8)) for i in rows])
    for _ in range(2):
        canvas = images.canvas(rows, size)
        assert canvas.dtype == torch.uint8
        assert canvas.is_contiguous()
        assert torch.equal(canvas, expected)
    assert budget.used <= limit


def test_small_images_of_one_size_are_decoded_once(pictures, budget, monkeypatch):
    images = ImageStore([pictures.png(i) for i in range(3)])
    monkeypatch.setattr(store_module, "decode", None)
    assert images.canvas([0, 1, 2], None).shape == (3, 3, 8, 8)
    assert images.canvas([0, 1, 2], 5).shape == (3, 3, 5, 5)
    assert budget.used == 3 * 3 * (64 + 25)


def test_images_of_several_sizes_are_decoded_once_for_each_canvas_size(pictures, budget, monkeypatch):
    images = ImageStore([pictures.png(0), pictures.png(1, (4, 9))])
    assert budget.used == 0
    assert images.native_size(np.array([0, 1])) is None
    first = images.canvas([0, 1], 6)
    monkeypatch.setattr(store_module, "decode", None)
    assert torch.equal(images.canvas([0, 1], 6), first)
    with pytest.raises(DataError, match=r"several sizes.*ask for a canvas of a given size"):
        images.canvas([0, 1], None)


def test_memory_returns_with_the_store(pictures, budget):
    images = ImageStore([pictures.png(i) for i in range(3)])
    assert budget.used > 0
    del images
    gc.collect()
    assert budget.used == 0


def test_decoded_images_do_not_travel(pictures, budget):
    images = ImageStore([pictures.png(i) for i in range(3)])
    copy = pickle.loads(pickle.dumps(images))
    assert budget.used == 3 * 3 * 64
    assert torch.equal(copy.canvas([0, 1, 2], None), images.canvas([0, 1, 2], None))
    assert copy.keys == images.keys


def test_large_images_in_threads_come_in_order(pictures, budget):
    sources = [pictures.encoded(Image.new("RGB", (300, 400), (i, 0, 0))) for i in range(70)]
    images = ImageStore(sources)
    assert images.native_size(np.arange(70)) == (400, 300)
    assert images.canvas(range(70), 2)[:, 0, 0, 0].tolist() == list(range(70))


def test_failures_are_told_by_row(pictures, budget):
    images = ImageStore([pictures.png(0), b"broken", pictures.png(1)])
    assert list(images.failures) == [1]
    assert images.keys[1] == ""
    assert images.canvas([0, 2], None).shape == (2, 3, 8, 8)
    assert ImageStore([b"broken"]).failures.keys() == {0}


def test_no_rows(pictures):
    assert ImageStore([pictures.png(0)]).canvas([], 7).shape == (0, 3, 7, 7)
