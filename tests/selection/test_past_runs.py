import json

import pytest

from hubtune.errors import DataError
from hubtune.runs import runs_folder, write_record
from hubtune.selection.past_runs import SHIPPED, PastRun, cells, past_runs, read_past_runs, recorded_runs


def test_the_table_that_ships_knows_every_embedded_model_and_task():
    runs = read_past_runs(SHIPPED)
    assert len({run.model for run in runs}) == 12
    assert len({run.task for run in runs}) == 6
    assert all(run.classes and run.train and run.card["params"] for run in runs)
    assert all({"linear", "knn", "logme", "loo-ridge"} <= run.scores.keys() for run in runs)


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "model,task,accuracy,seed,classes,images,linear,params\na,t,0.5,0,10,800,0.4,7\na,t,0.7,1,10,800,0.4,7\nb,t,0.2,0,10,800,,9\n"
    )
    a, b = sorted(past_runs(path), key=lambda run: run.model)
    assert (a.accuracy, a.classes, a.train, dict(a.scores), a.card["params"]) == (0.6, 10, 800, {"linear": 0.4}, 7)
    assert dict(b.scores) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model,task\na,t\n", "accuracy"),
        ("model,task,accuracy\na,t,85\nb,t,0.5\n", "fraction from 0 to 1"),
        ("model,task,accuracy,seed\na,t,0.5,0\na,t,0.6,0\n", "seed"),
        ("", "expected"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path, content, message):
    path = tmp_path / "wrong.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        past_runs(path)


def test_a_file_that_is_not_there():
    with pytest.raises(DataError, match="nowhere.csv"):
        past_runs("nowhere.csv")
    assert past_runs("none") == []


def test_repeats_are_medians_and_tasks_of_one_name_stay_apart():
    accuracies = (("x", 0.1), ("x", 0.4), ("x", 0.2), ("y", 0.9))
    runs = [PastRun(model="a", task="t", images=images, accuracy=accuracy) for images, accuracy in accuracies]
    assert [cell.accuracy for cell in cells(runs)] == [0.2, 0.9]
    assert cells(runs, without="t") == []


def test_records_give_the_best_training_by_validation_and_the_scores_of_a_search():
    root = runs_folder()
    task = {"name": "photos", "fingerprint": "f" * 64, "num_classes": 4, "sizes": {"train": 50}}

    def cell(name, validation, test, seed=0, method="fine-tune", steps=100):
        folder = root / "cells" / name
        folder.mkdir(parents=True)
        outcome = {"task": task, "seed": seed, "metrics": {"val_accuracy": validation, "test_accuracy": test}}
        outcome["history"] = [{"step": steps}]
        write_record(folder, {"method": method, "models": ["a"], "cards": [{"name": "a", "params": 5}], **outcome})

    cell("one", 0.5, 0.9)
    cell("two", 0.6, 0.4)
    cell("three", 0.6, 0.8, seed=1)
    cell("probe", 0.9, 0.1, method="linear-probe")
    cell("trial", 0.9, 0.1, steps=5)
    (root / "run").mkdir()
    rows = [{"name": "a", "scores": {"linear": 0.3}}, {"name": "b", "scores": {"linear": 0.1}, "share": 0.5}]
    write_record(root / "run", {"task": task, "search": {"rows": rows}})
    (root / "broken").mkdir()
    (root / "broken" / "record.json").write_text(json.dumps({"format": 99}))
    first, second = recorded_runs(root)
    assert (first.accuracy, second.accuracy) == (0.4, 0.8)
    assert (first.model, first.task, first.classes, first.train, dict(first.scores)) == ("a", "photos", 4, 50, {"linear": 0.3})


def test_runs_on_the_same_images_are_left_out_under_any_name():
    runs = [PastRun(model="a", task="photos", accuracy=0.5, images="f1"), PastRun(model="a", task="copy", accuracy=0.6, images="f1")]
    runs += [PastRun(model="a", task="other", accuracy=0.7, images="f2"), PastRun(model="a", task="table", accuracy=0.8)]
    assert [run.task for run in cells(runs, without="photos", images="f1")] == ["other", "table"]
    assert [run.task for run in cells(runs, images="")] == ["copy", "other", "photos", "table"]
