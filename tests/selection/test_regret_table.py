"""The table of a study: medians over repeats, gaps told apart from values, every mistake named with its place."""

import csv
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hubtune.errors import DataError, UnknownNameError
from hubtune.selection.regret_table import read_table

ROWS = [
    {"model": model, "task": task, "seed": seed, "accuracy": accuracy + seed / 100, "linear": accuracy, "params": params, "group": "g"}
    for model, params, own in (("small", 10, (0.5, 0.9)), ("big", 1000, (0.6, 0.7)))
    for task, accuracy in zip(("cats", "dogs"), own, strict=True)
    for seed in range(3)
]


def changed(*changes: dict, rows=ROWS) -> list[dict]:
    """The rows, the first of them changed, one for each change."""
    return [row | change for row, change in zip(rows, [*changes, *({},) * len(rows)], strict=False)]


def write_csv(path, rows, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_medians_over_repeats_and_cards_from_the_rows():
    table = read_table(ROWS)
    assert table.accuracies == {"cats": {"small": 0.51, "big": 0.61}, "dogs": {"small": 0.91, "big": 0.71}}
    assert table.scores["dogs"] == {"small": {"linear": 0.9}, "big": {"linear": 0.7}}
    assert [(card.name, card.params) for card in table.cards] == [("small", 10), ("big", 1000)]
    assert table.fields == ("name", "params")
    assert table.repeats == 3
    assert table.notes == ("columns that are no fields of a card and cannot rank models, not used: group",)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_parquet_and_rows_say_the_same(tmp_path, delimiter):
    expected = read_table(ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    for path in (write_csv(tmp_path / "t.csv", ROWS, delimiter), tmp_path / "t.parquet"):
        found = read_table(path)
        assert (found.accuracies, found.scores, found.cards, found.notes) == (
            expected.accuracies,
            expected.scores,
            expected.cards,
            expected.notes,
        )


def test_the_order_of_rows_changes_no_number():
    first, second = read_table(ROWS), read_table(ROWS[::-1])
    assert first.accuracies == second.accuracies
    assert first.scores == second.scores


def test_cells_without_an_accuracy_were_not_trained():
    table = read_table(changed({"accuracy": None}, {"accuracy": ""}, {"accuracy": None}))
    assert table.accuracies["cats"] == {"big": 0.61}
    assert "1 of 4 cells have no accuracy" in table.notes[-1]
    assert "small on cats" in table.notes[-1]


@pytest.mark.parametrize("gap", [None, "", " ", math.nan, "nan", math.inf])
def test_what_is_no_number_is_no_score(gap):
    table = read_table(changed(*({"linear": gap},) * 3))
    assert table.scores["cats"] == {"big": {"linear": 0.6}}


def test_scores_are_the_columns_of_numbers_that_tell_models_apart():
    rows = [row | {"knn": row["linear"], "classes": 10, "Unnamed: 0": i, "": i, "note": "x"} for i, row in enumerate(ROWS)]
    table = read_table(rows)
    assert table.score_names == ("linear", "knn")
    assert read_table(rows, ["knn"]).score_names == ("knn",)
    with pytest.raises(UnknownNameError, match="did you mean 'knn'"):
        read_table(rows, ["knn1"])
    with pytest.raises(UnknownNameError, match="column of scores 'accuracy'"):
        read_table(rows, ["accuracy"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"seed": 1}], "row 1 and row 2 are both of model 'small' on task 'cats', seed '1' (accuracy 0.5 and 0.51)"),
        ([{"accuracy": 87.5}], "row 1: accuracy = 87.5; expected a fraction from 0 to 1: divide accuracies in per cent by 100"),
        ([{"accuracy": -0.1}], "row 1: accuracy = -0.1; expected a fraction from 0 to 1"),
        ([{"accuracy": math.nan}], "row 1: accuracy = nan; expected a fraction"),
        ([{"accuracy": "good"}], "row 1: accuracy = 'good'"),
        ([{"model": ""}], "row 1: model = ''"),
        ([{"params": 11}], "params = 10 of model 'small', which has 11 in an earlier row"),
        ([{"params": 1.5}], "row 1: params = 1.5; expected a whole number"),
        ([{"params": None}] * 6, "no params of small; expected it of every model"),
        ([{"accuracy": 2}, {"accuracy": 3}], "row 2: accuracy = 3"),
    ],
)
def test_impossible_rows_are_named(changes, message):
    with pytest.raises(DataError, match="the table rows cannot be used") as caught:
        read_table(changed(*changes))
    assert message in str(caught.value)


def test_a_missing_value_of_a_frame_is_an_unknown_field():
    rows = [row | {"feature_dim": math.nan if row["model"] == "small" else 64.0} for row in ROWS]
    assert [card.feature_dim for card in read_table(rows).cards] == [None, 64]


def test_tables_that_are_none(tmp_path):
    for rows, message in (
        ([], "has no rows"),
        ([row for row in ROWS if row["model"] == "big"], "one model only, 'big'"),
        ([{"model": "a", "task": "t", "test_accuracy": 0.5}], "no column 'accuracy'.*did you mean 'test_accuracy'"),
        ([row | {"upstream_accuracy": 76.0} for row in ROWS], "75 % is 0.75"),
    ):
        with pytest.raises(DataError, match=message):
            read_table(rows)
    with pytest.raises(DataError, match="where there is no file"):
        read_table(tmp_path / "none.csv")
    for name, content, message in (
        ("a.csv", b"", "has no rows"),
        ("b.csv", b"model,task,accuracy\na,t,0.5,0.6\n", "line 2 of b.csv has 4 values; expected 3"),
        ("c.csv", b"model,model\na,b\n", "several columns called 'model'"),
        ("d.csv", b"\xff\xfe\x00", "cannot be read"),
        ("e.parquet", b"PAR1", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_table(tmp_path / name)


def test_lines_of_a_file_are_numbered_as_an_editor_does(tmp_path):
    path = write_csv(tmp_path / "t.csv", changed({}, {"accuracy": 87}))
    with pytest.raises(DataError, match="line 3: accuracy = 87"):
        read_table(path)
