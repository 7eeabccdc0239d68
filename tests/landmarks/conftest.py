"""A few drawn faces, and files of them."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from hubtune.landmarks import Landmarks, faces
from hubtune.tasks import Split
from hubtune.tasks.store import ImageStore

COUNTS = {"train": 16, "val": 8, "test": 10}


def make_task(**changes) -> Landmarks:
    splits = {}
    for name, count in COUNTS.items():
        images, points = faces.render(name, count)
        store = ImageStore(list(images))
        splits[name] = Split(store, range(count), torch.from_numpy(points), [f"{name}[{i}]" for i in range(count)])
    options = {"heatmap_size": 8, "sigma": 1.0, "head_channels": 4, "normalizer": faces.NORMALIZER, "pairs": faces.PAIRS}
    return Landmarks(name="faces", **splits, **options | {"point_names": faces.POINT_NAMES} | changes)


@pytest.fixture(scope="session")
def make_points():
    """Makes small tasks of drawn faces, with other settings where they are given."""
    return make_task


@pytest.fixture(scope="session")
def point_task():
    return make_task()


@pytest.fixture
def table(tmp_path):
    """Writes a CSV file of rows, each a list, beside images 0.png to 19.png that rows may name."""
    for i in range(20):
        Image.new("RGB", (60, 40), (90, 120, i)).save(tmp_path / f"{i}.png")

    def write(header: list, *rows: list, name: str = "points.csv") -> Path:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / name

    return write
