import importlib.util
import sys
import types

import pytest

from hubtune.errors import DataError, MissingExtraError
from hubtune.tasks import Task

NAMES = ["cat", "dog"]


class Part:
    """What ``datasets`` returns for a split, as far as it is used."""

    def __init__(self, table):
        self.features = types.SimpleNamespace(arrow_schema=table.schema)
        self.table = table.replace_schema_metadata(None)

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self.table[rows] if rows != slice(None) else self.table


@pytest.fixture
def library(monkeypatch, pictures, tmp_path):
    """A stand-in for ``datasets`` that knows one dataset, found in the cache."""
    parts = {
        "train": Part(pictures.table([0, 1] * 4, 0, NAMES)),
        "validation": Part(pictures.table([0, 1], 10, NAMES)),
        "test": Part(pictures.table([-1, -1], 20, NAMES)),
        "extra": Part(pictures.table([0], 30, NAMES)),
    }
    module = types.ModuleType("datasets")
    module.__spec__ = importlib.util.spec_from_loader("datasets", None)
    module.calls = []

    def load_dataset(name, configuration):
        module.calls.append((name, configuration))
        if name != "org/pets":
            raise ValueError("Unknown dataset")
        return parts

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    for name in ("org___pets", "org___other"):
        (tmp_path / name).mkdir()
    return module


@pytest.mark.parametrize(("spec", "configuration"), [("hf:org/pets", None), ("hf:org/pets:small", "small")])
def test_splits_and_class_names_are_kept(library, spec, configuration):
    task = Task.open(spec)
    assert library.calls == [("org/pets", configuration)]
    assert task.class_names == ("cat", "dog")
    assert task.name == "org/pets"
    assert len(task.val) == 2
    assert task.notes[:2] == ("the split 'extra' is left out", "test has no labels (2 rows) and is left out")


def test_the_librarys_errors_are_passed_on(library):
    with pytest.raises(DataError, match=r"'org/other' cannot be loaded \(ValueError: Unknown dataset\)"):
        Task.open("hf:org/other")


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_and_not_in_the_cache(library, monkeypatch, switch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(switch, "1")
    with pytest.raises(DataError, match=rf"'org/none' is not on this machine, and {switch} forbids .*unset {switch}"):
        Task.open("hf:org/none")
    assert library.calls == []


def test_a_hub_that_does_not_answer(library, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def dataset_info(self, name, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
    with pytest.raises(DataError, match=r"the Hub does not answer \(no route to host\).*go online once"):
        Task.open("hf:org/none")
    assert library.calls == []


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hubtune\[hf\]'"):
        Task.open("hf:org/pets")


def test_the_real_library_reads_a_local_copy(tmp_path, pictures, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tables = {name: pictures.table([0, 1] * 4, first, NAMES) for first, name in ((0, "train"), (10, "validation"), (20, "test"))}
    folder = pictures.parquet(tmp_path / "pets", **tables)
    task = Task.open(f"hf:{folder}")
    direct = Task.open(folder)
    assert task.fingerprint == direct.fingerprint
    assert task.class_names == ("cat", "dog")
