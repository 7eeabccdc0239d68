import numpy as np
import pytest

from hubtune.errors import DataError
from hubtune.tasks import Task

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 6, 7, 3), dtype=np.uint8)
LABELS = np.arange(24) % 2


def save(folder, **arrays):
    np.savez(folder / "toy.npz", **arrays)
    return folder / "toy.npz"


@pytest.mark.parametrize("keys", ["x_{0} y_{0}", "{0}_images {0}_labels"])
def test_splits_by_their_usual_keys(tmp_path, keys):
    arrays = {}
    for name, rows in {"train": slice(12), "val": slice(12, 16), "test": slice(16, 24)}.items():
        images, labels = keys.format(name).split()
        arrays |= {images: IMAGES[rows], labels: LABELS[rows, None]}
    task = Task.open(save(tmp_path, **arrays, class_names=np.array(["cat", "dog"])))
    assert [len(split) for split in task.splits.values()] == [12, 4, 8]
    assert task.class_names == ("cat", "dog")
    assert task.native_size == (6, 7)
    assert (task.test.canvas([1], None)[0].permute(1, 2, 0).numpy() == IMAGES[17]).all()
    assert task.test.ids[1] == "test[1]"


def test_one_stack_is_cut_and_its_form_does_not_matter(tmp_path):
    fingerprints = {
        Task.open(save(tmp_path, images=images, labels=labels)).train.fingerprint
        for images in (IMAGES, IMAGES.transpose(0, 3, 1, 2), IMAGES.astype(np.uint16) * 257, IMAGES.astype(np.float64), IMAGES.astype(int))
        for labels in (LABELS, LABELS[:, None], np.array(["cat", "dog"])[LABELS])
    }
    assert len(fingerprints) == 1


def test_twelve_bits_in_sixteen_are_noted(tmp_path):
    wide = IMAGES.astype(np.uint16)
    notes = Task.open(save(tmp_path, images=wide * 16, labels=LABELS)).notes
    assert notes[0].startswith(f"24 images of 16 bits without a value above {wide.max() * 16}, as if made of 12 bits")
    assert not any("bits" in note for note in Task.open(save(tmp_path, images=wide * 257, labels=LABELS)).notes)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "given the keys pictures.*expected x_train and y_train"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "24 images in images and 23 labels in labels"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "float64; expected one class number or name"),
        ({"images": IMAGES, "labels": np.eye(2)[LABELS]}, r"shape \(24, 2\)"),
        ({"images": IMAGES.astype(float) - 300, "labels": LABELS}, "images: pixels of type float64 range from"),
        ({"images": IMAGES[:, 0, 0], "labels": LABELS}, "no stack of images"),
        ({"images": IMAGES[:, :, :0], "labels": LABELS}, "is no image"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["cat"])}, "labels out of range; expected 0 to 0"),
        ({"images": IMAGES, "labels": np.array(["a", "b"] * 12), "class_names": np.array(["a", "b"])}, "names themselves"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array("cat")}, r"class_names of shape \(\); expected one name"),
        ({"images": np.array(3), "labels": LABELS}, "no stack of images"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no rows to train on"),
        ({"images": np.array([None] * 24), "labels": LABELS}, "cannot be read"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        Task.open(save(tmp_path, **arrays))


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "toy.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"toy\.npz' cannot be read"):
        Task.open(tmp_path / "toy.npz")
    np.save(tmp_path / "toy.npy", IMAGES)
    (tmp_path / "toy.npy").rename(tmp_path / "toy.npz")
    with pytest.raises(DataError, match=r"toy\.npz' cannot be read \(it holds one array, as an \.npy file does\)"):
        Task.open(tmp_path / "toy.npz")
