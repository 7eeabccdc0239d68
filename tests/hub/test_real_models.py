"""The real models: all load as they lie, and one still knows its classes."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hubtune.hub import Hub

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("HUBTUNE_REAL" not in os.environ, reason="HUBTUNE_REAL names no folder of real models and data"),
]
ROOT = Path(os.environ.get("HUBTUNE_REAL", "."))


def test_all_ten_load_exactly_and_embed():
    hub = Hub.open(ROOT / "models")
    assert len(hub) == 10
    assert hub.notes == ()
    canvas = torch.randint(0, 256, (1, 3, 40, 30), dtype=torch.uint8)
    for card in hub:
        backbone = hub.load(card.name, input_size=64 if card.input_size > 64 else None)
        with torch.no_grad():
            embedding = backbone.embed(backbone.view(canvas))
            assert embedding.shape == (1, card.feature_dim)
            assert torch.isfinite(embedding).all()
            assert backbone.num_logits == card.num_classes
            if card.num_classes:
                assert backbone.classify(embedding).shape == (1, card.num_classes)


def test_cifar10_resnet20_knows_cifar10():
    table = pq.read_table(ROOT / "data" / "cifar10" / "test.parquet").slice(0, 200)
    columns = table.to_pydict()
    images = next(values for values in columns.values() if isinstance(values[0], dict))
    labels = next(values for values in columns.values() if isinstance(values[0], int))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in images])
    backbone = Hub.open(ROOT / "models" / "checkpoints" / "cifar10_resnet20.json").load("cifar10_resnet20")
    with torch.no_grad():
        logits = backbone.logits(backbone.view(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    assert (logits.argmax(1) == torch.tensor(labels)).float().mean() >= 0.85


def test_the_l2tww_source_is_the_published_one():
    """Its blocks' outputs are maps after their ReLU, three of them the last before a down-scaling."""
    backbone = Hub.open(ROOT / "models").load("l2tww_tinyimagenet_resnet32")
    with torch.no_grad():
        maps = backbone.maps(backbone.view(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)))
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert all(m.min() >= 0 for m in maps)
