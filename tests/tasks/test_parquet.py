import base64

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hubtune.errors import DataError
from hubtune.tasks import Task

LABELS = [0, 1] * 6
NAMES = ["cat", "dog"]


def sizes(task):
    return [len(split) for split in task.splits.values()]


@pytest.mark.parametrize(
    "files",
    [
        ("train.parquet", "validation.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/val.parquet", "data/test-00000-of-00001.parquet"),
        ("train/0000.parquet", "valid/0000.parquet", "test/0000.parquet"),
    ],
)
def test_hugging_face_layouts(tmp_path, pictures, files):
    for first, (file, count) in enumerate(zip(files, (6, 2, 4), strict=True)):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        pq.write_table(pictures.table(LABELS[:count], first * 10, NAMES), tmp_path / file)
    task = Task.open(tmp_path)
    assert sizes(task) == [6, 2, 4]
    assert task.class_names == ("cat", "dog")
    assert task.val.ids == ("val[0]", "val[1]")
    assert task.notes == ()
    assert torch.equal(task.test.canvas([1], None)[0], torch.from_numpy(pictures.array(21)).permute(2, 0, 1))


def test_shards_follow_each_other_and_none_may_be_missing(tmp_path, pictures):
    for shard in range(2):
        table = pictures.table(LABELS[:4], 4 * shard, NAMES)
        pictures.parquet(tmp_path, **{f"train-{shard:05d}-of-00002": table})
    pictures.parquet(tmp_path, val=pictures.table(LABELS[:2], 20, NAMES), test=pictures.table(LABELS[:2], 30, NAMES))
    task = Task.open(tmp_path)
    assert sizes(task) == [8, 2, 2]
    assert task.class_names == ("cat", "dog")
    assert torch.equal(task.train.canvas([5], None)[0], torch.from_numpy(pictures.array(5)).permute(2, 0, 1))
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of 2 shards of train; expected all: add train-00001-of-00002\.parquet"):
        Task.open(tmp_path)


def test_each_table_names_its_own_class_numbers(tmp_path, pictures):
    tables = {"train-00000-of-00002": pictures.table(LABELS[:4], 0, NAMES), "train-00001-of-00002": pictures.table([0, 0], 4, NAMES[::-1])}
    tables |= {"val": pictures.table([0, 1], 10, NAMES), "test": pictures.table([0, 0, 1], 20, NAMES[::-1])}
    task = Task.open(pictures.parquet(tmp_path, **tables))
    assert task.class_names == ("cat", "dog")
    assert [split.targets.tolist() for split in task.splits.values()] == [[0, 1, 0, 1, 1, 1], [0, 1], [1, 1, 0]]
    pictures.parquet(tmp_path, test=pictures.table([0, 2, 1], 20, NAMES[::-1]))
    with pytest.raises(DataError, match=r"1 label out of range.*test\[1\] \(2\)"):
        Task.open(tmp_path)


@pytest.mark.parametrize("file", ["test", "train-00001-of-00002"])
def test_tables_that_name_other_classes(tmp_path, pictures, file):
    pictures.parquet(tmp_path, **{"train-00000-of-00002": pictures.table(LABELS, 0, NAMES)})
    pictures.parquet(tmp_path, **{"train-00001-of-00002": pictures.table(LABELS, 20, NAMES), file: pictures.table([0], 40, ["cat", "emu"])})
    with pytest.raises(DataError, match=rf"column 'label' in train.* and {file}.*: dog only in train.*; emu only in {file}.*in any order"):
        Task.open(tmp_path)


def test_one_file_keeps_its_order_and_is_cut(tmp_path, pictures):
    pictures.parquet(tmp_path, pets=pictures.table(LABELS, 0, NAMES))
    task = Task.open(tmp_path / "pets.parquet")
    assert task.name == "pets"
    assert sizes(task) == [8, 2, 2]
    rows = [int(id[6:-1]) for id in task.train.ids]
    assert rows == sorted(rows)
    pictures.parquet(tmp_path / "folder", pets=pictures.table(LABELS, 0, NAMES))
    assert Task.open(tmp_path / "folder").fingerprint == task.fingerprint


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["dog", "cat"] * 6, ("cat", "dog")), ([7, 10] * 6, ("7", "10")), ([False, True] * 6, ("False", "True")), ([-1, 1] * 6, ("-1", "1"))],
)
def test_labels_without_names(tmp_path, pictures, labels, names):
    task = Task.open(pictures.parquet(tmp_path, train=pictures.table(labels)))
    assert task.class_names == names


def test_images_as_bytes_and_as_paths(tmp_path, pictures):
    encoded = [pictures.png(i) for i in range(12)]
    for i, data in enumerate(encoded):
        (tmp_path / f"{i}.png").write_bytes(data)
    paths = [f"{i}.png" for i in range(12)]
    opened = []
    columns = {"bytes": encoded, "paths": paths, "both": [{"bytes": None, "path": path} for path in paths]}
    for name, column in columns.items():
        pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / f"{name}.parquet")
        opened.append(Task.open(tmp_path / f"{name}.parquet"))
    assert len({task.fingerprint for task in opened}) == 1
    assert set(opened[1].train.ids) <= set(paths)


def test_columns_by_type_by_usual_name_and_by_choice(tmp_path, pictures):
    table = pictures.table(LABELS, 0, NAMES).append_column("coarse", pa.array(["pet", "beast"] * 6))
    renamed = table.rename_columns(["picture", "label", "coarse"]).replace_schema_metadata(None)
    pictures.parquet(tmp_path / "a", train=renamed)
    assert Task.open(tmp_path / "a").class_names == ("0", "1")
    assert Task.open(tmp_path / "a", label_column="coarse", image_column="picture").class_names == ("beast", "pet")
    with pytest.raises(DataError, match=r"without the columns fine .*expected one of picture, label, coarse"):
        Task.open(tmp_path / "a", label_column="fine")
    pictures.parquet(tmp_path / "b", train=renamed.append_column("class", pa.array(LABELS)))
    with pytest.raises(DataError, match=r"several label columns, label, class; expected one.*name it with label_column"):
        Task.open(tmp_path / "b")
    pictures.parquet(tmp_path / "c", train=renamed.drop_columns(["label"]))
    with pytest.raises(DataError, match="no label column among picture, coarse"):
        Task.open(tmp_path / "c")
    with pytest.raises(DataError, match="image column of type int64"):
        Task.open(tmp_path / "a", image_column="label", label_column="coarse")


def test_groups_stay_together(tmp_path, pictures):
    patients = [i // 2 for i in range(24)]
    table = pictures.table([p % 2 for p in patients], patient=pa.array(patients))
    task = Task.open(pictures.parquet(tmp_path, train=table), group_column="patient")
    owners = [{int(id[6:-1]) // 2 for id in split.ids} for split in task.splits.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 12


def test_unlabelled_test_rows_are_left_out_and_cut_anew(tmp_path, pictures):
    task = Task.open(pictures.parquet(tmp_path, train=pictures.table(LABELS, 0, NAMES), test=pictures.table([-1] * 3, 20, NAMES)))
    assert task.notes[0] == "test has no labels (3 rows) and is left out"
    assert sizes(task) == [8, 2, 2]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 2, 1], NAMES, r"1 label out of range; expected 0 to 1, as there are 2 class names.*train\[2\] \(2\)"),
        ([0, 1, -1, 1], NAMES, r"out of range.*-1 often marks unlabelled"),
        ([0, 1, -1, 1], None, r"1 label below 0.*train\[2\]"),
        ([0, None, 1, 1], NAMES, r"1 image without a label.*train\[1\]"),
        ([0.5, 1.0, 1.0, 0.5], None, "labels of type float; expected names"),
        ([0, 0, 0, 0], NAMES, "one class only, 'cat'"),
        ([[0, 1], [1], [0], [1]], None, "labels of type list"),
        ([[0, 1], [1], [0], [1]], NAMES, r"class names \(cat, dog\) and labels of type list; expected the classes' numbers, 0 to 1"),
        (["cat", "dog", "cat", "dog"], NAMES, "class names .* and labels of type str"),
        ([0.7, 1.0, 1.0, 0.7], NAMES, "class names .* and labels of type float"),
        (np.array([0, 2**63, 1, 0], np.uint64), NAMES, "1 label out of range"),
        ([], None, "no rows to train on in .*expected images of at least two classes"),
        ([], NAMES, "no rows to train on"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, pictures, labels, names, message):
    with pytest.raises(DataError, match=message):
        Task.open(pictures.parquet(tmp_path, train=pictures.table(labels, 0, names)))


def test_files_that_cannot_be_used(tmp_path, pictures):
    with pytest.raises(DataError, match=r"holds no \.parquet files"):
        Task.open(f"parquet:{tmp_path}")
    pictures.parquet(tmp_path, test=pictures.table(LABELS))
    with pytest.raises(DataError, match=r"of test only.*add train\.parquet"):
        Task.open(tmp_path)
    pictures.parquet(tmp_path, train=pictures.table(LABELS, 40), other=pictures.table(LABELS))
    assert Task.open(tmp_path).notes[0] == "1 parquet file left out, naming no split: other.parquet"
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        Task.open(tmp_path)


def test_paths_without_files(tmp_path, pictures):
    table = pa.table({"image": pa.array([{"bytes": None, "path": "gone.png"}] * 4), "label": [0, 1, 0, 1]})
    with pytest.raises(DataError, match=r"paths only.*gone\.png; expected the encoded images: embed the bytes"):
        Task.open(pictures.parquet(tmp_path, train=table))


def test_images_as_text_are_no_paths_and_are_not_repeated(tmp_path, pictures):
    encoded = [base64.b64encode(pictures.png(i, (20, 20))).decode().replace("/", "+") for i in range(12)]
    pq.write_table(pa.table({"image": encoded, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"no file at any of them, such as iVBORw0KGgo\S{29}\.\.\. \(\d+ characters\); expected") as caught:
        Task.open(tmp_path)
    assert len(str(caught.value)) < 300
    for i in range(1, 12):
        (tmp_path / f"{i}.png").write_bytes(pictures.png(i))
    paths = [encoded[0], *(f"{i}.png" for i in range(1, 12))]
    pq.write_table(pa.table({"image": paths, "label": LABELS}), tmp_path / "train.parquet")
    assert Task.open(tmp_path).notes[0] == "1 of 12 images left out, unreadable: train[0] (file name too long)"
