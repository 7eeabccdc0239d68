"""Methods side by side: rows, costs, differences, and nothing done twice."""

import json

import numpy as np
import pytest

import hubtune as ht
from hubtune.errors import ConfigurationError, TrainingError, UnknownNameError
from hubtune.runs import runs_folder
from hubtune.workflow import Run, contestants
from hubtune.workflow.contestants import labelled
from hubtune.workflow.rounds import Entry, Round, missing_seeds

QUICK = {"steps": 6, "batch_size": 12, "learning_rates": (0.01,)}
PATHS = {**QUICK, "generator_width": 8}
METHODS = {
    "fine-tune": ht.FineTune(**QUICK),
    "ensemble": ht.Ensemble(base_config={**QUICK, "learning_rates": [0.01]}),
    "k1": ht.HubPathway(**PATHS, top_k=1),
    "k2": ht.HubPathway(**PATHS, top_k=2),
    "soup": ht.SoupUniform(base_config={"steps": 6}),
}


def test_a_comparison_is_a_table_over_methods_and_seeds(task, hub, monkeypatch):
    compared = ht.compare(task, hub, METHODS, seeds=2, workers=1)
    rows = {row["label"]: row for row in compared.rows}
    assert list(rows) == [*METHODS, "best-single", "best-single, chosen on test", "oracle"]
    for label in ("fine-tune", "ensemble", "k1", "k2"):
        row = rows[label]
        accuracies = [run["metrics"]["test_accuracy"] for run in row["runs"]]
        assert row["mean"]["test_accuracy"] == pytest.approx(np.mean(accuracies))
        assert row["spread"]["test_accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
        assert row["seconds"] > 0
        assert [run["seed"] for run in row["runs"]] == [0, 1]

    # A method that fails is a row with its reason; the others went on.
    assert "different architectures" in rows["soup"]["error"]
    assert rows["soup"]["mean"] == {}
    assert f"Comparison(test_accuracy: fine-tune {rows['fine-tune']['mean']['test_accuracy']:.4f}, ensemble" in repr(compared)
    assert "soup failed" in repr(compared)
    assert repr(Run.read(compared.path)) == f"Run(compare, {compared.path})"

    # The single models are the same ones everywhere.
    assert rows["best-single"]["mean"]["test_accuracy"] == pytest.approx(rows["fine-tune"]["mean"]["test_accuracy"])
    assert rows["best-single, chosen on test"]["mean"]["test_accuracy"] >= rows["best-single"]["mean"]["test_accuracy"]
    assert rows["oracle"]["mean"]["test_accuracy"] >= rows["best-single, chosen on test"]["mean"]["test_accuracy"]
    assert rows["ensemble"]["seconds"] > rows["fine-tune"]["seconds"]

    # Costs are counted: an ensemble is all its models, one path is about one of them.
    single = {name: flops_alone(hub, task, name) for name in hub.names}
    assert rows["ensemble"]["flops"] == pytest.approx(sum(single.values()), rel=0.01)
    assert min(single.values()) < rows["k1"]["flops"] < max(single.values()) * 1.6
    assert rows["k1"]["flops"] < rows["k2"]["flops"] < rows["ensemble"]["flops"] * 1.6

    # Differences are to the first method.
    assert rows["fine-tune"]["difference"] is None
    gap = rows["ensemble"]["mean"]["test_accuracy"] - rows["fine-tune"]["mean"]["test_accuracy"]
    assert rows["ensemble"]["difference"]["mean"] == pytest.approx(gap)
    assert rows["ensemble"]["difference"]["low"] <= gap <= rows["ensemble"]["difference"]["high"]

    # Paths: weights of k models an image, and how well they were chosen.
    paths = {path["label"]: path for path in compared.record["paths"]}
    one, two = paths["k1"], paths["k2"]
    assert sum(one["activated"]) == pytest.approx(1)
    assert sum(two["activated"]) == pytest.approx(2)
    assert 0 <= one["quality"]["at_random"] <= 1
    samples = compared.record["paths"][0]["samples"]
    assert len(samples) == 12
    assert all((compared.path / sample["image"]).exists() for sample in samples)
    page = (compared.path / "report.html").read_text()
    for title in ("Comparison", "Room for paths", "Fields tried", "Paths", "Images and their paths"):
        assert f">{title}</h2>" in page

    record = json.loads((compared.path / "record.json").read_text())
    assert record["kind"] == "compare"
    assert record["comparison"]["rows"] == compared.rows
    assert compared.path.parent == runs_folder()

    # The same again, and a part of it by tune: nothing is computed.
    import hubtune.training.cells as cells

    monkeypatch.setattr(cells, "_compute", lambda *_: pytest.fail("a finished cell was computed again"))
    monkeypatch.delitem(METHODS, "soup")
    again = ht.compare(task, hub, METHODS, seeds=2, workers=1)
    assert [row["mean"] for row in again.rows] == [row["mean"] for row in compared.rows if row["label"] != "soup"]
    run = ht.tune(task, hub, METHODS["k2"], seed=1, workers=1)
    assert run.metrics["test_accuracy"] == rows["k2"]["runs"][1]["metrics"]["test_accuracy"]
    # A tune knows the quality of its paths where the models were fine-tuned alone by the same schedule.
    [path] = run.record["paths"]
    assert path["quality"]["by_weight"] >= 0
    assert len(path["samples"]) == 12


def flops_alone(hub, task, name):
    from hubtune.training.flops import flops
    from hubtune.training.predictor import Single

    backbone = hub.load(name)
    return flops(Single(backbone, task.head(backbone)).eval(), task.test.canvas([0], None))


def test_a_search_comes_first_where_a_budget_is_given(task, hub):
    found = ht.compare(task, hub, ["linear-probe", "concat-probe"], seeds=1, budget=2, workers=1)
    assert found.record["comparison"]["models"] == found.record["search"]["picks"]
    assert len(found.record["comparison"]["models"]) == 2
    assert found.row("concat-probe")["spread"] == {}
    assert found.row("oracle")["difference"]["mean"] >= 0


def test_a_training_that_fails_is_said_and_done_without(task, hub):
    method = ht.FineTune(steps=40, batch_size=12, learning_rates=(100.0, 0.01), momentum=0.99, optimizer="sgd", schedule="step", warmup=0.0)
    found = ht.compare(task, hub.subset(["vit"]), [method], seeds=1, workers=1)
    assert found.row("fine-tune")["runs"][0]["error"] is None
    [warning] = found.record["warnings"]
    assert warning.startswith("fine-tune, seed 0: vit")


def test_a_seed_without_a_result_is_said_and_a_method_without_any_is_not_said_twice(task):
    ended = {0: object(), 1: None}
    rounds = [
        Round(seed=seed, task=task, alone=(), entries={"a": Entry(result=found, error="broke"), "b": Entry(result=None, error="never")})
        for seed, found in ended.items()
    ]
    assert list(missing_seeds(rounds)) == ["a, seed 1: left out of the means: broke"]


def test_all_failing_is_one_clear_error(task, hub):
    with pytest.raises(TrainingError, match=r"(?s)no method ended well.*zoo-tuning: .*architecture"):
        ht.compare(task, hub, ["zoo-tuning"], seeds=1, workers=1)


@pytest.mark.parametrize("seeds", [0, [], [1, 1]])
def test_seeds_that_cannot_be_are_said(task, hub, seeds):
    with pytest.raises(ConfigurationError, match="seeds ="):
        ht.compare(task, hub, ["fine-tune"], seeds=seeds)


def test_settings_reach_their_methods_and_the_trainings_inside_others():
    found = contestants(
        ["fine-tune", "ensemble", "k1=hub-pathway", "distill"],
        {"steps": "40", "fine-tune.learning_rates": "0.1", "k1.top_k": "1"},
    )
    assert found["fine-tune"] == ht.FineTune(steps=40, learning_rates=(0.1,))
    assert found["ensemble"] == ht.Ensemble(base_config={"steps": 40, "learning_rates": [0.1]})
    assert found["k1"] == ht.HubPathway(steps=40, top_k=1)
    assert found["distill"].base_config == {"steps": 40, "learning_rates": [0.1]}
    taught = contestants(["hub-pathway", "distill"], {"hub-pathway.top_k": "1", "distill.teacher": "hub-pathway"})
    assert taught["distill"].teacher_config == {"top_k": 1}
    inside = contestants(["ensemble"], {"fine-tune.learning_rates": "0.1", "steps": "40"})
    assert inside["ensemble"] == ht.Ensemble(base_config={"steps": 40, "learning_rates": [0.1]})
    kept = contestants(["ensemble"], {"steps": "40", "ensemble.base_config": '{"steps": 7}'})
    assert kept["ensemble"] == ht.Ensemble(base_config={"steps": 7})


@pytest.mark.parametrize(
    ("specs", "settings", "error", "message"),
    [
        (["fine-tune", "fine-tune"], {}, ConfigurationError, "given twice"),
        (["finetune"], {}, UnknownNameError, "did you mean 'fine-tune'"),
        (["fine-tune"], {"fine-tun.steps": "3"}, UnknownNameError, "did you mean 'fine-tune'"),
        (["fine-tune"], {"stepz": "3"}, UnknownNameError, "did you mean 'steps'"),
        (["fine-tune"], {"fine-tune.top_k": "3"}, UnknownNameError, "field of fine-tune 'top_k'"),
        (["k=hub-pathway"], {"k.top_k": "0"}, ConfigurationError, "top_k = 0"),
    ],
)
def test_contestants_that_cannot_be_are_said(specs, settings, error, message):
    with pytest.raises(error, match=message):
        contestants(specs, settings)


def test_methods_of_one_name_are_labelled_by_what_differs():
    found = labelled([ht.HubPathway(top_k=1), ht.HubPathway(top_k=3), "fine-tune"])
    assert list(found) == ["hub-pathway top_k=1", "hub-pathway top_k=3", "fine-tune"]
    with pytest.raises(ConfigurationError, match="some of them twice"):
        labelled(["fine-tune", ht.FineTune()])
    with pytest.raises(ConfigurationError, match="no methods"):
        labelled([])


def test_what_a_method_is_built_on_is_heard_with_and_without_a_label():
    for key in ("teacher", "distill.teacher"):
        [method] = contestants(["distill"], {key: "hub-pathway", "steps": "5"}).values()
        assert method.config()["teacher_config"]["steps"] == 5


def test_a_label_may_be_an_analysiss_name_and_means_the_method(task, hub, tmp_path):
    one = {"steps": 4, "batch_size": 12, "learning_rates": [0.01]}
    methods = {"oracle": ht.FineTune.from_config(one), "other": ht.FineTune.from_config(one | {"steps": 5})}
    found = ht.compare(task, hub.subset(["vit"]), methods, seeds=1, workers=1, out=tmp_path / "run")
    rows = {row["label"]: row for row in found.record["comparison"]["rows"]}
    assert not rows["oracle"]["analysis"]
    difference = rows["other"]["mean"]["test_accuracy"] - rows["oracle"]["mean"]["test_accuracy"]
    assert rows["other"]["difference"]["mean"] == pytest.approx(difference)
