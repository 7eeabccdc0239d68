"""VTAB-1K: the rows and labels of the benchmark, and a loud end wherever the data are others."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hubtune.errors import DataError, UnknownNameError
from hubtune.tasks import Task, vtab
from hubtune.tasks.vtab_tasks import TASKS, Cut

# Rows of the original splits: training, validation, test. Written out from the benchmark's own description.
EXPECTED = {
    "caltech101": (102, ("train", 0, 800), ("train", 2754, 2954), ("test", 0, 6084)),
    "cifar100": (100, ("train", 0, 800), ("train", 45000, 45200), ("test", 0, 10000)),
    "dtd": (47, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 1880)),
    "flowers102": (102, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 6149)),
    "pets": (37, ("train", 0, 800), ("train", 2944, 3144), ("test", 0, 3669)),
    "sun397": (397, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 21750)),
    "svhn": (10, ("train", 0, 800), ("train", 65931, 66131), ("test", 0, 26032)),
    "camelyon": (2, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 32768)),
    "eurosat": (10, ("train", 0, 800), ("train", 16200, 16400), ("train", 21600, 27000)),
    "resisc45": (45, ("train", 0, 800), ("train", 18900, 19100), ("train", 25200, 31500)),
    "retinopathy": (5, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 42670)),
    "clevr_count": (8, ("train", 0, 800), ("train", 63000, 63200), ("validation", 0, 15000)),
    "clevr_distance": (6, ("train", 0, 800), ("train", 63000, 63200), ("validation", 0, 15000)),
    "dmlab": (6, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 22735)),
    "kitti_distance": (4, ("train", 0, 800), ("validation", 0, 200), ("test", 0, 711)),
    "dsprites_location": (16, ("train", 0, 800), ("train", 589824, 590024), ("train", 663552, 737280)),
    "dsprites_orientation": (16, ("train", 0, 800), ("train", 589824, 590024), ("train", 663552, 737280)),
    "smallnorb_azimuth": (18, ("train", 0, 800), ("test", 0, 200), ("test", 12150, 24300)),
    "smallnorb_elevation": (9, ("train", 0, 800), ("test", 0, 200), ("test", 12150, 24300)),
}
MARK = {"tfds": "toy:1.0.0"}


def png(value, size=2):
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def toy(monkeypatch):
    """A small task of 4 classes, and a way to change it."""

    def make(**changes):
        base = replace(
            TASKS["eurosat"], dataset="toy:1.*.*", classes=4, sizes={"train": 40}, val=Cut("train", 50, 4), test=Cut("train", 75)
        )
        task = replace(base, **changes)
        monkeypatch.setitem(TASKS, "toy", task)
        return task

    make()
    return make


def write(path, rows, metadata=MARK, **columns):
    """A file of as many rows, each image with its row's number as grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"image": [png(row) for row in rows], **(columns or {"label": [row % 4 for row in rows]})}
    table = pa.table(content).replace_schema_metadata(metadata)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        opener = pa.ipc.new_stream if path.stem.endswith("stream") else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as sink, opener(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)


def greys(rows):
    return [int(np.asarray(Image.open(io.BytesIO(image)))[0, 0]) for image in rows.images]


@pytest.mark.parametrize("name", EXPECTED)
def test_rows_of_every_task(name):
    task = TASKS[name]
    found = [(cut.split, rows.start, rows.stop) for cut in (task.train, task.val, task.test) for rows in [cut.rows(task.sizes[cut.split])]]
    assert (task.classes, *found) == EXPECTED[name]


def test_there_are_nineteen_tasks_in_three_groups():
    assert list(TASKS) == list(EXPECTED)
    groups = [task.group for task in TASKS.values()]
    assert [groups.count(group) for group in ("natural", "specialized", "structured")] == [7, 4, 8]


def test_a_data_set_of_full_size(tmp_path):
    for split in ("train", "test"):
        columns = {f"label_{kind}": [(row * 5) % classes for row in range(24_300)] for kind, classes in (("azimuth", 18), ("elevation", 9))}
        write_same(tmp_path / "smallnorb" / f"{split}.parquet", 24_300, columns)
    for name, classes in (("smallnorb_azimuth", 18), ("smallnorb_elevation", 9)):
        reading = vtab.read(f"{name}@{tmp_path}")
        expected = {"train": range(800), "val": range(200), "test": range(12_150, 24_300)}
        for split, rows in expected.items():
            assert reading.splits[split].labels == [(row * 5) % classes for row in rows]


def write_same(path, count, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    both = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([png(0)])).cast(pa.binary())
    pq.write_table(pa.table({"image": both, "image2": both, **columns}), path)


@pytest.mark.parametrize("names", [["train.parquet"], ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]])
@pytest.mark.parametrize("place", ["", "toy"])
def test_files_in_their_order(toy, tmp_path, names, place):
    for name, rows in zip(names, np.array_split(np.arange(40), len(names)), strict=True):
        write(tmp_path / place / name, rows.tolist())
    reading = vtab.read(f"toy@{tmp_path}")
    assert greys(reading.splits["train"]) == list(range(40))
    assert greys(reading.splits["val"]) == [20, 21, 22, 23]
    assert greys(reading.splits["test"]) == list(range(30, 40))
    assert reading.splits["val"].labels == [0, 1, 2, 3]
    assert not reading.notes


@pytest.mark.parametrize("name", ["train-stream.arrow", "train-file.arrow"])
def test_arrow_files_hold_the_same(toy, tmp_path, name, monkeypatch):
    write(tmp_path / name, range(40))
    monkeypatch.setenv("HUBTUNE_VTAB", str(tmp_path))
    reading = vtab.read("toy")
    assert greys(reading.splits["test"]) == list(range(30, 40))


def test_a_task_opens_and_says_where_the_order_comes_from(toy, tmp_path):
    write(tmp_path / "train.parquet", range(40), metadata=None)
    task = Task.open(f"vtab:toy@{tmp_path}")
    assert (len(task.train), len(task.val), len(task.test), task.num_classes) == (40, 4, 10, 4)
    assert any("in the order of the files" in note for note in task.notes)


@pytest.mark.parametrize("as_lists", [True, False])
def test_labels_by_rule(toy, tmp_path, as_lists):
    def objects(row):
        count = 3 + row % 4
        coords = [[0.0, 0.0, 8.1 + 0.5 * i] for i in range(count)]
        return {"pixel_coords": coords} if as_lists else [{"pixel_coords": each} for each in coords]

    toy(label="objects", rule=TASKS["clevr_count"].rule)
    write(tmp_path / "train.parquet", range(40), objects=[objects(row) for row in range(40)], label=[9] * 40)
    reading = vtab.read(f"toy@{tmp_path}")
    assert reading.splits["train"].labels == [row % 4 for row in range(40)]
    toy(label="objects", rule=TASKS["clevr_distance"].rule)
    with pytest.raises(DataError, match=r"has 1 classes in the files; expected 4, numbered from 0 to 3"):
        vtab.read(f"toy@{tmp_path}")


def test_pixels_of_zero_and_one_are_shown(toy, tmp_path):
    toy(binary=True)
    write(tmp_path / "train.parquet", [row % 2 for row in range(40)], label=[row % 4 for row in range(40)])
    reading = vtab.read(f"toy@{tmp_path}")
    assert [np.asarray(image.load())[0, 0] for image in reading.splits["val"].images] == [0, 255, 0, 255]
    usual = vtab.BlackAndWhite(png(200))
    assert np.asarray(usual.load())[0, 0] == 200


@pytest.mark.parametrize(
    ("rows", "columns", "metadata", "message"),
    [
        (39, None, MARK, "train has 39 rows, not 40; expected the whole splits of toy:1"),
        (40, {"label": [row % 3 for row in range(40)]}, MARK, "has 3 classes in the files; expected 4"),
        (40, {"label": [row % 4 + 1 for row in range(40)]}, MARK, r"has 4 classes in the files \(4\); expected 4, numbered from 0 to 3"),
        (40, {"kind": list(range(40))}, MARK, "no column 'label' among image, kind"),
        (40, {"label": sorted(row % 4 for row in range(40))}, None, "sorted by class"),
        (40, None, {"tfds": "mnist:3.0.1"}, "were exported from mnist:3.0.1; expected toy:1"),
    ],
)
def test_other_data_end_loudly(toy, tmp_path, rows, columns, metadata, message):
    write(tmp_path / "train.parquet", range(rows), metadata, **(columns or {}))
    with pytest.raises(DataError, match=message):
        vtab.read(f"toy@{tmp_path}")


def test_features_of_another_kind_end_loudly(toy, tmp_path):
    toy(label="objects", rule=TASKS["kitti_distance"].rule)
    write(tmp_path / "train.parquet", range(40), objects=[{"kind": 1}] * 40)
    with pytest.raises(DataError, match=r"'objects' is not what toy:1\.\*\.\* has \(KeyError: 'type'\)"):
        vtab.read(f"toy@{tmp_path}")


def test_files_that_do_not_fit_together(toy, tmp_path):
    write(tmp_path / "a" / "train-00000-of-00002.parquet", range(20))
    write(tmp_path / "b" / "rows.parquet", range(40))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "train.parquet").write_bytes(b"no")
    for place, message in (("a", "00001-of-00002"), ("b", "names no split"), ("c", "cannot be read")):
        with pytest.raises(DataError, match=message):
            vtab.read(f"toy@{tmp_path / place}")


def test_data_that_are_not_there(toy, tmp_path, monkeypatch):
    monkeypatch.delenv("HUBTUNE_VTAB", raising=False)
    with pytest.raises(UnknownNameError, match="did you mean 'caltech101'"):
        vtab.read("caltech")
    with pytest.raises(DataError, match=r"vtab:cifar100 does not say where.*torchvision's CIFAR100.*HUBTUNE_VTAB"):
        vtab.read("cifar100")
    with pytest.raises(DataError, match="nothing; expected toy"):
        vtab.read(f"toy@{tmp_path}/nowhere")
    with pytest.raises(DataError, match="no parquet or arrow files"):
        vtab.read(f"toy@{tmp_path}")
    with pytest.raises(DataError, match=r"vtab:cifar100 is not in .*CIFAR100 is not in"):
        vtab.read(f"cifar100@{tmp_path}")


def test_torchvision_holds_the_same_test_images(toy, tmp_path, pictures, monkeypatch):
    toy(
        torchvision="Country211", sizes={"train": 30, "validation": 12, "test": 9}, classes=3, val=Cut("validation", 0, 5), test=Cut("test")
    )
    for split, count in (("train", 10), ("valid", 4), ("test", 3)):
        pictures.folder(tmp_path / "country211", {f"{split}/{name}": count for name in ("AD", "AE", "AF")})
    reading = vtab.read(f"toy@{tmp_path}")
    assert list(reading.splits["test"].ids) == [f"test[{row}]" for row in range(9)]
    assert len(reading.splits["val"]) == 5
    # The files are sorted by class; the rows drawn are not.
    assert reading.splits["train"].labels != sorted(reading.splits["train"].labels)
    assert sorted(reading.splits["train"].labels) == sorted([0, 1, 2] * 10)
    assert vtab.read(f"toy@{tmp_path}").splits["val"].ids == reading.splits["val"].ids
    assert any("torchvision's Country211" in note for note in reading.notes)
    toy(torchvision="Country211", sizes={"train": 31, "test": 9}, classes=3, val=Cut("train", 90, 2), test=Cut("test"))
    with pytest.raises(DataError, match="train has 30 rows, not 31"):
        vtab.read(f"toy@{tmp_path}")
