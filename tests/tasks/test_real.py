"""Public tasks as they are: read from parquet, written out as folders, read again."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hubtune.tasks import Task

ROOT = os.environ.get("HUBTUNE_REAL")
pytestmark = [pytest.mark.real, pytest.mark.skipif(ROOT is None, reason="HUBTUNE_REAL names no folder")]


def classes_of(split, task):
    return {key: task.class_names[label] for key, label in zip(split.image_keys, split.targets, strict=True)}


@pytest.mark.parametrize(
    ("name", "sizes", "classes", "side"), [("eurosat", (1000, 200, 3000), 10, 64), ("quickdraw3", (999, 201, 1800), 3, 28)]
)
def test_parquet_and_the_same_as_a_folder(tmp_path, name, sizes, classes, side):
    source = Path(str(ROOT)) / "data" / name
    task = Task.open(source)
    assert tuple(len(split) for split in task.splits.values()) == sizes
    assert (task.num_classes, task.native_size) == (classes, (side, side))
    rows = pq.read_table(source / "validation.parquet").to_pylist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows])
    assert (task.val.canvas(range(len(rows)), None).permute(0, 2, 3, 1).numpy() == pixels).all()
    assert task.val.targets.tolist() == [row["label"] for row in rows]
    for split, file in (("train", "train"), ("val", "validation"), ("test", "test")):
        for row, record in enumerate(pq.read_table(source / f"{file}.parquet").to_pylist()):
            place = tmp_path / split / task.class_names[record["label"]]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{row}.{record['image']['path'].rpartition('.')[2]}").write_bytes(record["image"]["bytes"])
    folder = Task.open(tmp_path)
    assert folder.class_names == tuple(sorted(task.class_names))
    for split, read in folder.splits.items():
        assert classes_of(read, folder) == classes_of(task.splits[split], task)


def test_the_first_rows_of_cifar10_hold_the_classes_evenly():
    task = Task.open(Path(str(ROOT)) / "data" / "cifar10").take(train=500)
    assert torch.bincount(task.train.targets).tolist() == [50] * 10
