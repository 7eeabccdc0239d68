import shutil

import numpy as np
import pytest
import torch
from scipy.io import savemat

import hubtune as ht
from hubtune.errors import ConfigurationError, DataError, UnknownNameError
from hubtune.landmarks import SCHEMES, W300, Landmarks

HEADER = ["image", "left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "chin_x", "chin_y"]
FACE = [10, 10, 30, 10, 20, 30]


def rows(count: int) -> list[list]:
    return [[f"{shift}.png", *(value + shift for value in FACE)] for shift in range(count)]


def test_two_files_of_one_split_are_said(table):
    path = table(HEADER, *rows(6))
    path.rename(path.with_name("train_a.csv"))
    path.with_name("train_b.csv").write_text(path.with_name("train_a.csv").read_text())
    with pytest.raises(DataError, match=r"train_a.csv and train_b.csv both are of the train split"):
        ht.Task.open(f"points:{path.parent}")


def test_the_cut_does_not_depend_on_where_the_folder_lies(table):
    path = table(HEADER, *rows(12))
    moved = shutil.copytree(path.parent, path.parent / "deeper" / "moved") / path.name
    one, other = (ht.Task.open(f"points:{place}") for place in (path, moved))
    for split in ("train", "val", "test"):
        assert list(getattr(one, split).ids) == list(getattr(other, split).ids)


def test_a_plain_table(table):
    task = ht.Task.open(f"points:{table(HEADER, *rows(12))}", crop=1.0, heatmap_size=16)
    assert isinstance(task, Landmarks)
    assert task.point_names == ("left_eye", "right_eye", "chin")
    assert task.pairs == ((0, 1),)
    assert task.heatmap_size == 16
    # The box around the points: 20 pixels long, its corners at (10, 10) and (30, 30).
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    for split in task.splits.values():
        torch.testing.assert_close(split.targets, expected.expand(len(split), 3, 2))
    again = ht.Task.open(**task.source)
    assert again.fingerprint == task.fingerprint
    assert again.take(train=2).train.ids == task.train.ids[:2]


def test_faces_of_one_image_stay_in_one_split(table):
    with pytest.raises(DataError, match="no usable row"):
        ht.Task.open(f"points:{table(HEADER, *(['0.png', *FACE] for _ in range(12)))}")


def test_rows_that_cannot_be_used_are_named_and_left_out(table):
    good = rows(20)
    bad = [
        ["missing.png", *FACE],
        ["0.png", *FACE[:4]],
        ["0.png", 10, 10, 30, "ten", 20, 30],
        ["0.png", 10, 10, 10, 10, 10, 10],
        ["0.png", "", "", "", "", "", ""],
        ["", *FACE],
    ]
    path = table(HEADER, *good, *bad)
    task = ht.Task.open(f"points:{path}", skip_limit=0.3)
    assert sum(map(len, task.splits.values())) == 20
    [note] = [note for note in task.notes if "left out" in note]
    for reason in (
        "6 of 26",
        "missing.png",
        "not found",
        "2 points, expected 3",
        "'ten'",
        "size zero",
        "no point is known",
        "no image is named",
    ):
        assert reason in note
    with pytest.raises(DataError, match="6 of 26 rows cannot be used; expected at most 10%"):
        ht.Task.open(f"points:{path}")


def test_points_outside_the_crop_are_said(table):
    task = ht.Task.open(f"points:{table(HEADER, *rows(12))}", crop=0.5)
    assert any("points of 12 faces outside the crop" in note for note in task.notes)
    loss = task.loss(torch.zeros(len(task.test), 3, 64, 64), task.test.targets)
    assert torch.isfinite(loss).all()


def test_an_empty_cell_is_an_unknown_point(table):
    unknown = [[*row[:5], "", "nan"] for row in rows(12)]
    task = ht.Task.open(f"points:{table(HEADER, *unknown)}", normalizer="0-1")
    assert task.train.targets[:, 2].isnan().all()
    assert task.metrics(task.test.targets.nan_to_num(0.3), task.test.targets)["nme"] == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sigmar": 1}, UnknownNameError, "did you mean 'sigma'"),
        ({"sigma": 0, "heatmap_size": 0}, ConfigurationError, "heatmap_size = 0"),
        ({"sigma": "2", "rotation": None}, ConfigurationError, "sigma = '2': expected a number above 0"),
        ({"crop": 0}, ConfigurationError, "crop=0"),
        ({"normalizer": "36-45"}, ConfigurationError, "numbered 0 to 2, such as '0-2'"),
        ({"normalizer": "0-1,1-2"}, ConfigurationError, "expected two points"),
        ({"val_fraction": "0.2", "crop": "1"}, ConfigurationError, "val_fraction='0.2': expected a fraction above 0 and below 1; crop='1'"),
        ({"take": {"foo": 3}}, ConfigurationError, "take={'foo': 3}: expected how many rows"),
        ({"pairs": "0-7"}, ConfigurationError, "numbered 0 to 2"),
        ({"pairs": "left"}, ConfigurationError, "such as '0-16,1-15'"),
        ({"augmentation": "spin"}, UnknownNameError, "turn+flip"),
    ],
)
def test_options_that_cannot_work(table, options, error, message):
    with pytest.raises(error) as raised:
        ht.Task.open(f"points:{table(HEADER, *rows(12))}", **options)
    assert message in str(raised.value)


def test_files_that_are_no_table_of_points(table, tmp_path):
    with pytest.raises(DataError, match="there is nothing"):
        ht.Task.open("points:nowhere.csv")
    with pytest.raises(DataError, match="then x and y"):
        ht.Task.open(f"points:{table(['image', 'x0'], ['a.png', 1])}")
    with pytest.raises(DataError, match="train in its name"):
        ht.Task.open(f"points:{tmp_path}")


def test_300w_as_its_authors_lay_it_out(table, tmp_path):
    header = ["image_name", "scale", "center_w", "center_h", *(f"original_{i}_{axis}" for i in range(68) for axis in "xy")]
    points = np.random.default_rng(0).uniform(10, 30, (12, 136)).round(2)
    listed = [[f"{i}.png", 0.1, 20, 20, *row] for i, row in enumerate(points)]
    (tmp_path / "images").mkdir()
    for i in range(len(points)):
        (tmp_path / f"{i}.png").rename(tmp_path / "images" / f"{i}.png")
    table(header, *listed[:8], name="face_landmarks_300w_train.csv")
    table(header, *listed[8:], name="face_landmarks_300w_valid.csv")
    task = ht.Task.open(f"300w:{tmp_path}")
    assert (task.sigma, task.heatmap_size, task.normalizer, task.pairs) == (1.0, 64, (36, 45), W300.pairs)
    assert [len(split) for split in task.splits.values()] == [7, 1, 4]
    # The crop's side is 200 * 0.1 * 1.25 = 25 pixels around (20, 20).
    expected = (torch.tensor(points[8:], dtype=torch.float32).view(-1, 68, 2) - 7.5) / 25
    torch.testing.assert_close(task.test.targets, expected)
    assert task.test.canvas([0], None).shape == (1, 3, 25, 25)


def test_cofw(tmp_path):
    generator = np.random.default_rng(0)
    for split, suffix, count in (("train", "Tr", 10), ("test", "T", 3)):
        images = np.empty((count, 1), dtype=object)
        for i in range(count):
            images[i, 0] = generator.integers(0, 256, (40, 50) if i % 2 else (40, 50, 3), dtype=np.uint8)
        phis = generator.uniform(5, 35, (count, 87))
        savemat(tmp_path / f"COFW_{split}_color.mat", {f"phis{suffix}": phis, f"Is{suffix}": images})
    task = ht.Task.open(f"cofw:{tmp_path}")
    assert task.num_points == 29
    assert len(task.test) == 3
    first = phis[0, :58].reshape(2, 29).T
    low, high = np.floor(first.min(0)), np.ceil(first.max(0))
    side = (high - low).max() * 1.25
    np.testing.assert_allclose(task.test.targets[0].numpy(), (first - ((low + high) / 2 - side / 2)) / side, atol=1e-5)


def test_cofw_as_matlab_writes_it_today(tmp_path):
    h5py = pytest.importorskip("h5py")
    from hubtune.landmarks.reading import read_cofw

    image, phis = np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3), np.arange(87.0)
    with h5py.File(tmp_path / "COFW_test_color.mat", "w") as file:
        cell = file.create_dataset("#refs#/a", data=image.T)
        file["phisT"] = phis[:, None]
        file.create_dataset("IsT", (1, 1), dtype=h5py.ref_dtype)[0, 0] = cell.ref
    [face] = read_cofw(tmp_path / "COFW_test_color.mat", 29).faces
    assert np.array_equal(face.image, image)
    np.testing.assert_array_equal(face.points.numpy(), phis[:58].reshape(2, 29).T)


@pytest.mark.parametrize("name", SCHEMES)
def test_pairs_are_disjoint_and_the_normalizer_is_one_of_them(name):
    scheme = SCHEMES[name]
    used = [index for pair in scheme.pairs for index in pair]
    assert len(set(used)) == len(used)
    assert set(used) <= set(range(scheme.points))
    assert any(set(scheme.normalizer) == set(pair) for pair in scheme.pairs)
