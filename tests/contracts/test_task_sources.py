"""What every source of tasks promises."""

import io
import json
import pickle
import sys
import types
from importlib.util import spec_from_loader

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hubtune.errors import ConfigurationError, HubTuneError
from hubtune.tasks import SOURCES, Task, vtab_tasks

SIDE = 28
LABELS = np.arange(40) % 4


def pixels(row):
    return np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def png(row):
    stream = io.BytesIO()
    Image.fromarray(pixels(row)).save(stream, "PNG")
    return stream.getvalue()


def table():
    return pa.table({"image": pa.array([{"bytes": png(row), "path": None} for row in range(40)]), "label": LABELS})


def folder(root, monkeypatch):
    for row, label in enumerate(LABELS):
        (root / f"class {label}").mkdir(exist_ok=True)
        (root / f"class {label}" / f"{row}.png").write_bytes(png(row))
    return str(root), {}


def parquet(root, monkeypatch):
    pq.write_table(table(), root / "train.parquet")
    return str(root), {}


def npz(root, monkeypatch):
    np.savez(root / "toy.npz", images=np.stack([pixels(row) for row in range(40)]), labels=LABELS)
    return str(root / "toy.npz"), {}


def huggingface(root, monkeypatch):
    (root / "org___toy").mkdir(exist_ok=True)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(root))

    class Part:
        features = types.SimpleNamespace(arrow_schema=table().schema)

        def with_format(self, kind):
            return self

        def __getitem__(self, rows):
            return table()

    module = types.ModuleType("datasets")
    module.__spec__ = spec_from_loader("datasets", None)
    module.__dict__["load_dataset"] = lambda name, configuration: {"train": Part()}
    monkeypatch.setitem(sys.modules, "datasets", module)
    return "org/toy", {}


def torchvision(root, monkeypatch):
    images = root / "eurosat" / "2750"
    images.mkdir(parents=True, exist_ok=True)
    folder(images, monkeypatch)
    return "EuroSAT", {"root": str(root)}


def demo(root, monkeypatch):
    return "digits", {}


def vtab(root, monkeypatch):
    cuts = {"val": vtab_tasks.Cut("test", 0, 12), "test": vtab_tasks.Cut("test", 50)}
    toy = vtab_tasks.VtabTask(group="natural", dataset="toy:1.0.0", classes=4, sizes={"train": 16, "test": 24}, **cuts)
    monkeypatch.setitem(vtab_tasks.TASKS, "toy", toy)
    pq.write_table(table().slice(0, 16), root / "train.parquet")
    pq.write_table(table().slice(16), root / "test.parquet")
    return f"toy@{root}", {}


# A new source joins here, and has a tiny task of it made.
MAKERS = {"folder": folder, "parquet": parquet, "npz": npz, "hf": huggingface, "torchvision": torchvision, "vtab": vtab, "demo": demo}


@pytest.fixture(params=sorted(MAKERS))
def made(request, tmp_path, monkeypatch):
    location, options = MAKERS[request.param](tmp_path, monkeypatch)
    return f"{request.param}:{location}", options


def test_every_source_is_checked():
    assert set(MAKERS) == set(SOURCES)


def test_opening_is_deterministic_and_a_record_opens_it_again(made):
    spec, options = made
    task = Task.open(spec, **options)
    described = task.take(train=8).describe()
    assert json.loads(json.dumps(described)) == described
    again = Task.open(**described["source"])
    assert again.describe() == described
    assert Task.open(spec, **options).fingerprint == task.fingerprint


def test_splits_are_sound(made):
    spec, options = made
    task = Task.open(spec, **options)
    assert task.num_classes == len(set(task.class_names)) >= 2
    keys = [set(split.image_keys) for split in task.splits.values()]
    assert len(set.union(*keys)) == sum(map(len, keys))
    for split in task.splits.values():
        assert len(split) == len(split.targets) == len(set(split.ids)) > 0
        assert split.targets.dtype == torch.int64
        assert set(split.targets.tolist()) == set(range(task.num_classes))
        assert all(len(key) == 64 for key in split.image_keys)
        native, squashed = split.canvas([0, 1], None), split.canvas([0, 1], 16)
        assert native.dtype == squashed.dtype == torch.uint8
        assert native.shape == (2, 3, *task.native_size)
        assert squashed.shape == (2, 3, 16, 16)


def test_a_task_travels_to_another_process(made):
    spec, options = made
    task = Task.open(spec, **options)
    copy = pickle.loads(pickle.dumps(task))
    assert copy.fingerprint == task.fingerprint
    assert torch.equal(copy.val.canvas([0, 1], None), task.val.canvas([0, 1], None))


def test_seed_and_fractions_rule_the_cut_where_the_source_leaves_one(made):
    spec, options = made
    task = Task.open(spec, **options)
    other = Task.open(spec, **options, seed=1)
    was_cut = any("was cut" in note for note in task.notes)
    assert (other.fingerprint != task.fingerprint) == was_cut
    if was_cut:
        half = Task.open(spec, **options, test_fraction=0.5)
        assert len(half.test) == 20


def test_unknown_options_and_locations_are_told(made, tmp_path):
    spec, options = made
    with pytest.raises(ConfigurationError, match=r"colour='red': the source"):
        Task.open(spec, **options, colour="red")
    with pytest.raises(HubTuneError, match=r"expected|did you mean|known"):
        Task.open(f"{spec.partition(':')[0]}:nothing-there")
