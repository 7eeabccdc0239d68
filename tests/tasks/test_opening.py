import numpy as np
import pytest
from PIL import Image

from hubtune.errors import ConfigurationError, DataError, UnknownNameError
from hubtune.tasks import Task


def test_unreadable_images_are_left_out_and_listed(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 15, "dog": 15})
    whole = pictures.encoded(Image.fromarray(pictures.array(1, (64, 64))), "JPEG")
    (tmp_path / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "text.png").write_text("not an image")
    task = Task.open(tmp_path)
    note = next(note for note in task.notes if "unreadable" in note)
    assert note.startswith("2 of 32 images left out, unreadable: cat/cut.jpg (image file is truncated")
    assert "dog/text.png (not an image in a known format)" in note
    assert sum(len(split) for split in task.splits.values()) == 30
    with pytest.raises(DataError, match=r"2 of 32 images are unreadable; expected at most 5%.*raise skip_limit: cat/cut\.jpg"):
        Task.open(tmp_path, skip_limit=0.05)


def test_the_same_image_in_two_classes_is_noted(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "dog" / "copy.png").write_bytes(pictures.png(2))
    notes = Task.open(tmp_path).notes
    assert "1 image in two classes, byte for byte; correct the labels: cat/002.png (cat) = dog/copy.png (dog)" in notes


def test_the_same_image_in_two_splits_is_noted(tmp_path, pictures):
    pictures.folder(tmp_path, {f"{split}/{name}": 3 for split in ("train", "val") for name in ("cat", "dog")})
    pictures.folder(tmp_path, {"test/cat": 3, "test/dog": 3}, first=4)
    leak = next(note for note in Task.open(tmp_path).notes if "train and test" in note)
    assert leak.startswith("2 images both in train and test, so test scores are too high; remove one: train/dog/00")


def test_copies_of_one_image_are_cut_together(tmp_path, pictures):
    for copy in range(3):
        pictures.folder(tmp_path, {f"cat/{copy}": 10})
        pictures.folder(tmp_path, {f"dog/{copy}": 10}, first=10)
    task = Task.open(tmp_path)
    keys = [set(split.image_keys) for split in task.splits.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 20


def test_a_class_with_one_image_goes_to_train_and_is_noted(tmp_path, pictures):
    task = Task.open(pictures.folder(tmp_path, {"cat": 5, "dog": 5, "emu": 1}))
    assert (task.train.targets == 2).sum() == 1
    assert any(note.startswith("1 class with a single image, which goes to train") and note.endswith("'emu'") for note in task.notes)
    assert "val has no images of 1 of 3 classes, nothing is measured there about them: 'emu'" in task.notes


@pytest.mark.parametrize("side", [8, 300])
def test_twelve_bits_in_sixteen_are_noted(tmp_path, pictures, side):
    for i in range(10):
        folder = tmp_path / ("cat", "dog")[i % 2]
        folder.mkdir(exist_ok=True)
        values = np.random.default_rng(i).integers(0, 4096, (side, side)).astype(np.uint16)
        values[0, 0] = 4095 if i == 0 else 0
        (folder / f"{i}.png").write_bytes(pictures.encoded(Image.fromarray(values)))
    (tmp_path / "cat" / "colour.png").write_bytes(pictures.png(0, (side, side)))
    [note] = [note for note in Task.open(tmp_path).notes if "bits" in note]
    assert note.startswith("10 images of 16 bits without a value above 4095, as if made of 12 bits")
    assert "at most 17 grey values are left; multiply the values (those of 12 bits by 16)" in note
    (tmp_path / "cat" / "0.png").write_bytes(pictures.encoded(Image.fromarray(np.full((side, side), 4096, np.uint16))))
    assert not any("bits" in note for note in Task.open(tmp_path).notes)


def test_images_of_several_sizes_need_a_canvas_size(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 5})
    pictures.folder(tmp_path, {"dog": 5}, first=5, size=(6, 9))
    task = Task.open(tmp_path)
    assert task.native_size is None
    assert task.canvas_size([16]) == 16
    assert task.train.canvas([0, 1], 16).shape == (2, 3, 16, 16)


def test_wrong_options_are_told_all_at_once(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 5, "dog": 5})
    with pytest.raises(ConfigurationError) as caught:
        Task.open(tmp_path, seed=-1, val_fraction=1.5, test_fraction=0.0, skip_limit=1.0, label_column="x")
    for part in ("seed=-1", "val_fraction=1.5", "test_fraction=0.0", "skip_limit=1.0", "the source 'folder' knows group_regex"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nowhere", DataError, "given 'nowhere', where there is nothing; expected a folder of images .*demo:"),
        ("nowhere/at:all", DataError, "where there is nothing"),
        ("x" * 300, DataError, "where there is nothing"),
        ("folder:" + "x" * 300, DataError, "where there is nothing"),
        ("~nobody-of-this-name/images", DataError, "where there is nothing"),
        ("folder:nowhere", DataError, "'nowhere', where there is nothing; expected a folder of images: check the path"),
        ("dmo:digits", UnknownNameError, "unknown source 'dmo': did you mean 'demo'"),
        ("demo:digit", UnknownNameError, "did you mean 'digits'"),
        ("no.such.module:task", DataError, "cannot be imported"),
        ("json:loads2", DataError, "cannot be imported"),
        ("builtins:dict", DataError, "returned a dict; expected a Task"),
    ],
)
def test_specifications_that_lead_nowhere(tmp_path, monkeypatch, spec, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        Task.open(spec)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"given the file .*data\.csv'; expected a folder of images"):
        Task.open(tmp_path / "data.csv")
    with pytest.raises(DataError, match=r"given the file .*data\.csv'; expected a folder, with a subfolder for each class"):
        Task.open(f"folder:{tmp_path / 'data.csv'}")


def test_a_task_of_ones_own(tmp_path, monkeypatch, pictures):
    pictures.folder(tmp_path / "images", {"cat": 5, "dog": 5})
    (tmp_path / "own_tasks.py").write_text(
        "from hubtune.tasks import Task\n\ndef pets(root, seed=0):\n    return Task.open(root, name='pets', seed=seed)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = Task.open("own_tasks:pets", root=tmp_path / "images", seed=3)
    assert (task.name, task.source["seed"]) == ("pets", 3)


def test_options_of_another_type(tmp_path, pictures):
    pictures.folder(tmp_path, {"cat": 5, "dog": 5})
    with pytest.raises(ConfigurationError) as caught:
        Task.open(tmp_path, val_fraction="0.2", test_fraction=None, skip_limit="0.1", take={"foo": 3})
    for part in ("val_fraction='0.2'", "test_fraction=None", "skip_limit='0.1'", "take={'foo': 3}: expected how many rows to keep"):
        assert part in str(caught.value)
    for take in ({"train": "3"}, {"train": 0}, {"train": 2.5}, "train", 3):
        with pytest.raises(ConfigurationError, match="such as {'train': 100}"):
            Task.open(tmp_path, take=take)
    with pytest.raises(ConfigurationError, match="given {'train': '3'}; expected at least 1 row of each split .*a whole"):
        Task.open(tmp_path).take(train="3")
    with pytest.raises(ConfigurationError, match="group_regex=3 is no regular expression"):
        Task.open(tmp_path, group_regex=3)


def test_name_take_and_augmentation_are_options(tmp_path, pictures, monkeypatch):
    pictures.folder(tmp_path / "pets", {"cat": 10, "dog": 10})
    monkeypatch.chdir(tmp_path)
    task = Task.open("pets", name="Pets", take={"train": 4}, augmentation="flip", seed=2)
    assert (task.name, len(task.train), task.augmentation) == ("Pets", 4, "flip")
    assert task.fingerprint == Task.open("pets", seed=2, augmentation="flip").take(train=4).fingerprint
    monkeypatch.chdir("/")
    again = Task.open(**task.take(val=1).source)
    assert again.fingerprint == task.take(val=1).fingerprint
    assert Task.open(tmp_path / "pets").name == "pets"
