import numpy as np
import pytest
from torchvision import datasets

from hubtune.errors import DataError, UnknownNameError
from hubtune.tasks import Task
from hubtune.tasks import torchvision as source


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def mnist(root):
    rng = np.random.default_rng(0)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 40), ("t10k", 20)):
        write_idx(raw / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return root


def test_datasets_that_hold_arrays(tmp_path):
    task = Task.open("torchvision:MNIST", root=mnist(tmp_path))
    assert [len(split) for split in task.splits.values()] == [30, 10, 20]
    assert task.class_names[0] == "0 - zero"
    original = datasets.MNIST(str(tmp_path), train=False)
    assert task.test.targets.tolist() == original.targets.tolist()
    assert (task.test.canvas([3], None)[0] == original.data[3]).all()


def test_datasets_that_open_files_keep_their_splits(tmp_path, pictures):
    pictures.folder(tmp_path / "country211", {f"{split}/{name}": 2 for split in ("train", "valid", "test") for name in ("AD", "AE")})
    task = Task.open("torchvision:Country211", root=tmp_path)
    assert [len(split) for split in task.splits.values()] == [4, 4, 4]
    assert task.class_names == ("AD", "AE")
    original = datasets.Country211(str(tmp_path), split="valid")
    assert (task.val.canvas([3], None)[0].permute(1, 2, 0).numpy() == np.asarray(original[3][0])).all()


def test_datasets_without_splits_are_cut(tmp_path, pictures):
    pictures.folder(tmp_path / "eurosat" / "2750", {"Forest": 10, "River": 10})
    task = Task.open("torchvision:EuroSAT", root=tmp_path)
    assert [len(split) for split in task.splits.values()] == [12, 4, 4]


def test_what_is_not_there_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"CIFAR10 is not in .*not allowed.*unset HF_HUB_OFFLINE"):
        Task.open("torchvision:CIFAR10", root=tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(DataError, match="name their folder with root"):
        Task.open("torchvision:CIFAR10", root=tmp_path, download=False)


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    def download(self):
        raise OSError("no route to host")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(datasets.CIFAR10, "download", download)
    with pytest.raises(DataError, match=r"could not be downloaded \(no route to host\): check the network"):
        Task.open("torchvision:CIFAR10", root=tmp_path)


def test_datasets_of_another_kind():
    with pytest.raises(DataError, match="torchvision's PhotoTour needs name"):
        source.read("PhotoTour")
    with pytest.raises(UnknownNameError, match="did you mean 'CIFAR1"):
        source.read("CIFAR11")


def test_targets_must_be_class_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "targets", property(lambda self: np.zeros((40, 2)), lambda self, value: None), raising=False)
    with pytest.raises(DataError, match=r"shape \(40, 2\).*expected one class number"):
        Task.open("torchvision:MNIST", root=mnist(tmp_path))
