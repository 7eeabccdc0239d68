import os
import shutil

import pytest

from hubtune.errors import ConfigurationError, DataError
from hubtune.tasks import Task
from hubtune.tasks.folder import read


def split_ids(task):
    return {name: set(split.ids) for name, split in task.splits.items()}


def test_classes_without_splits_are_cut_stratified(tmp_path, pictures):
    task = Task.open(pictures.folder(tmp_path, {"dog": 20, "cat": 10}))
    assert task.class_names == ("cat", "dog")
    assert {name: split.targets.bincount().tolist() for name, split in task.splits.items()} == {
        "train": [6, 13],
        "val": [2, 3],
        "test": [2, 4],
    }
    assert all(task.class_names[target] == id.split("/")[0] for id, target in zip(task.train.ids, task.train.targets, strict=True))
    assert not split_ids(task)["train"] & split_ids(task)["test"]
    assert [note.split(":")[0] for note in task.notes] == ["test was cut from train", "val was cut from train"]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation", "testing"), ("training", "valid", "Test")])
def test_split_folders_are_kept(tmp_path, pictures, names):
    train, val, test = names
    counts = {f"{train}/cat": 4, f"{train}/dog": 3, f"{val}/cat": 1, f"{val}/dog": 2, f"{test}/cat": 2, f"{test}/dog": 1}
    task = Task.open(pictures.folder(tmp_path, counts))
    assert {name: split.targets.bincount().tolist() for name, split in task.splits.items()} == {
        "train": [4, 3],
        "val": [1, 2],
        "test": [2, 1],
    }
    assert task.notes == ()
    assert Task.open(tmp_path, seed=3).fingerprint == task.fingerprint


def test_a_missing_validation_split_is_cut_from_train(tmp_path, pictures):
    task = Task.open(pictures.folder(tmp_path, {"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 2}), val_fraction=0.3)
    assert (len(task.train), len(task.val), len(task.test)) == (14, 6, 4)


def test_a_class_may_be_called_train(tmp_path, pictures):
    task = Task.open(pictures.folder(tmp_path, {"train": 5, "test": 5, "ship": 5}))
    assert task.class_names == ("ship", "test", "train")


def test_neither_file_names_nor_creation_order_decide(tmp_path, pictures):
    first = Task.open(pictures.folder(tmp_path / "first", {"cat": 9, "dog": 9}))
    second = tmp_path / "second"
    for name in ("dog", "cat"):
        (second / name / "deeper").mkdir(parents=True)
        for i, file in enumerate(sorted((tmp_path / "first" / name).iterdir(), reverse=True)):
            shutil.copy(file, second / name / "deeper" / f"img{i}.PNG")
    assert Task.open(second).fingerprint == first.fingerprint
    assert Task.open(second, seed=1).fingerprint != first.fingerprint


def test_every_beginning_of_train_holds_all_classes(tmp_path, pictures):
    task = Task.open(pictures.folder(tmp_path, {"a": 10, "b": 10, "c": 10}))
    assert task.take(train=6).train.targets.bincount().tolist() == [2, 2, 2]


@pytest.mark.parametrize("pattern", [r"^(p\d+)_", r"^p\d+"])
def test_groups_stay_together(tmp_path, pictures, pattern):
    for patient in range(8):
        for scan in range(3):
            place = tmp_path / ("ill" if patient % 2 else "well")
            place.mkdir(exist_ok=True)
            (place / f"p{patient}_{scan}.png").write_bytes(pictures.png(10 * patient + scan))
    task = Task.open(tmp_path, group_regex=pattern)
    owner = {name: {id.split("/")[1].split("_")[0] for id in split.ids} for name, split in task.splits.items()}
    assert not owner["train"] & owner["val"] | owner["train"] & owner["test"] | owner["val"] & owner["test"]
    assert all(len(split) % 3 == 0 for split in task.splits.values())


def test_groups_in_two_given_splits_are_noted(tmp_path, pictures):
    pictures.folder(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})
    task = Task.open(tmp_path, group_regex=r"^\d+")
    assert "1 group both in train and val" in task.notes[0]


def test_what_is_no_image_is_left_out_and_said(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "about.txt").write_text("cats")
    (tmp_path / "cat" / ".DS_Store").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "bird").mkdir()
    (tmp_path / "loose.png").write_bytes(pictures.png(99))
    task = Task.open(tmp_path)
    assert task.class_names == ("cat", "dog")
    assert task.notes[:3] == (
        f"1 image beside the class folders of {tmp_path.name} left out, without a class: loose.png",
        "1 folder without images left out: bird",
        "1 file left out, being no images by name: .txt (1)",
    )


def test_links_are_followed_once(tmp_path, pictures):
    pictures.folder(tmp_path / "real", {"cat": 5, "dog": 5})
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        os.symlink(tmp_path / "real" / name, tmp_path / "linked" / name)
    os.symlink(tmp_path / "real" / "cat", tmp_path / "real" / "cat" / "again")
    assert len(read(str(tmp_path / "linked")).splits["train"]) == 10


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "with no images; expected a subfolder for each class"),
        ({".": 3}, "with 3 images directly in it; expected a subfolder for each class"),
        ({"cat": 3}, "one class only, 'cat'"),
        ({"cat": 1, "dog": 1}, "no test split; expected two images"),
        ({"test/cat": 3, "test/dog": 3}, "no train folder"),
        ({"val/cat": 1, "valid/cat": 1, "train/cat": 1}, "given both 'val' and 'valid'"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, pictures, counts, message):
    with pytest.raises(DataError, match=message):
        Task.open(pictures.folder(tmp_path, counts))


def test_empty_split_folders_and_wrong_expressions(tmp_path, pictures):
    pictures.folder(tmp_path, {"train/cat": 3, "train/dog": 3})
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="test' with no images"):
        Task.open(tmp_path)
    with pytest.raises(ConfigurationError, match="is no regular expression"):
        Task.open(tmp_path, group_regex="(")
