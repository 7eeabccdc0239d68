"""The road from labelled images to a model that predicts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hubtune as ht
from hubtune.errors import ConfigurationError, RunError, SearchError, TrainingError, UnknownNameError
from hubtune.runs import runs_folder
from hubtune.selection import scoring
from hubtune.selection.scoring import check_time
from hubtune.workflow import estimate, method_named

QUICK = {"steps": 20, "batch_size": 12}
ROOT = Path(__file__).parents[2]


def test_search_then_tune_hands_over_a_model_that_predicts(task, hub):
    rank = ht.search(hub, task, strategy="hybrid-linear", budget=2)
    assert len(rank.picks) == 2
    assert [row["rank"] for row in rank.rows] == [1, 2, 3]
    run = ht.tune(task, rank.picks, method=ht.FineTune(**QUICK), workers=1)
    assert run.metrics["test_accuracy"] > 0.6
    assert run.metrics["test_accuracy_low"] <= run.metrics["test_accuracy"] <= run.metrics["test_accuracy_high"]
    assert run.record["chosen"]["models"][0] in rank.picks.names
    assert (run.path / "report.html").exists()
    model = ht.load(run.path)
    [best, *_] = rank.rows
    assert repr(rank).startswith(f"Ranking of 3 models by hybrid-linear, picks: {', '.join(rank.picks.names)}\n")
    assert f"  {best['name']}: score {best['score']:.4g}, predicted accuracy {100 * best['predicted']:.0f} %\n" in repr(rank)
    accuracy = run.metrics["test_accuracy"]
    assert repr(run) == f"Run(fine-tune on {run.record['chosen']['models'][0]}: test_accuracy {accuracy:.4f}, {run.path})"
    assert repr(model) == "Model(single, 3 classes: red, green, blue)"
    images = task.test.canvas(range(len(task.test)), None).permute(0, 2, 3, 1).numpy()
    p = model.predict(images)
    assert p.probabilities.shape == (30, 3)
    np.testing.assert_allclose(p.probabilities.sum(1), 1, atol=1e-5)
    assert p.path is None
    right = np.mean([task.class_names.index(label) == int(target) for label, target in zip(p.labels, task.test.targets, strict=True)])
    assert right == pytest.approx(run.metrics["test_accuracy"])


def test_the_deployed_folder_is_one_that_plain_timm_loads(task, hub):
    import timm

    run = ht.tune(task, hub.subset(["resnet-a"]), method=ht.FineTune(**QUICK), workers=1)
    network = timm.create_model(f"local-dir:{run.path / 'model'}", pretrained=True).eval()
    assert network.pretrained_cfg["label_names"] == ["red", "green", "blue"]
    assert (run.path / "model" / "README.md").read_text().startswith("---")
    canvas = task.test.canvas(range(8), None)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = network((canvas.float() / 255 - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(ht.load(run.path).predict(canvas.permute(0, 2, 3, 1).numpy()).probabilities, expected, atol=1e-5)


def test_pictures_paths_and_arrays_are_the_same_image(task, hub, tmp_path):
    run = ht.tune(task, hub.subset(["resnet-a"]), method="linear-probe", workers=1)
    model = ht.load(run.path)
    array = task.test.canvas([0], None)[0].permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "x.png")
    answers = [
        model.predict(given).probabilities
        for given in (array[None], [Image.fromarray(array)], [tmp_path / "x.png"], [str(tmp_path / "x.png")])
    ]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    assert model.predict([Image.fromarray(array).resize((50, 40))]).probabilities.shape == (1, 3)


def test_the_same_call_again_trains_nothing_and_says_the_same(task, hub, monkeypatch):
    first = ht.tune(task, hub, method=ht.FineTune(**QUICK), budget=2, workers=1)
    import hubtune.training.cells as cells

    monkeypatch.setattr(cells, "_compute", lambda *_: pytest.fail("a finished cell was computed again"))
    second = ht.tune(task, hub, method=ht.FineTune(**QUICK), budget=2, workers=1)
    assert second.metrics == first.metrics
    assert second.path == first.path


def test_processes_side_by_side_change_nothing(task, hub, monkeypatch, tmp_path):
    alone = ht.tune(task, hub.subset(["resnet-a", "vit"]), method=ht.FineTune(**QUICK), workers=1)
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path / "other"))
    together = ht.tune(task, hub.subset(["resnet-a", "vit"]), method=ht.FineTune(**QUICK), workers=2)
    assert [cell["metrics"] for cell in together.record["cells"]] == [cell["metrics"] for cell in alone.record["cells"]]


def test_another_seed_is_another_training_and_one_seed_decides_everything(task, hub, monkeypatch, tmp_path):
    one = hub.subset(["resnet-a"])
    losses = []
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path / folder))
        losses.append(ht.tune(task, one, method=ht.FineTune(**QUICK), seed=seed, workers=1).metrics["test_loss"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("method", [ht.Scratch(**QUICK), ht.FineTune(**QUICK, head_first=False), "linear-probe"])
def test_every_method_leaves_the_source_model_as_it_was(task, hub, method):
    before = hub.load("resnet-a").fingerprint
    run = ht.tune(task, hub.subset(["resnet-a"]), method=method, workers=1)
    assert hub.load("resnet-a").fingerprint == before
    assert 0 <= run.metrics["test_accuracy"] <= 1


def test_options_a_practitioner_expects(task, hub):
    method = ht.FineTune(
        steps=10, batch_size=12, optimizer="adamw", learning_rates=(0.001,), layer_decay=0.8, label_smoothing=0.1, weight_decay=0.05,
        schedule="cosine", warmup=0.1, clip_gradient=1.0, early_stopping=3, keep="best", batch_norm="frozen",
    )  # fmt: skip
    run = ht.tune(task, hub.subset(["resnet-a"]), method=method, workers=1)
    assert {"test_balanced_accuracy", "test_macro_f1"} <= set(run.metrics)


def test_a_training_that_diverges_is_named_and_the_others_go_on(task, hub):
    method = ht.FineTune(steps=40, batch_size=12, learning_rates=(100.0, 0.01), momentum=0.99)
    run = ht.tune(task, hub.subset(["vit"]), method=method, workers=1)
    assert run.record["chosen"]["config"]["learning_rates"] == [0.01]


def test_all_trainings_failing_is_one_clear_error(task, models_folder, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(models_folder / "resnet-a", folder / "resnet-a")
    path = folder / "resnet-a" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises((TrainingError, ConfigurationError, ht.HubTuneError), match="resnet-a"):
        ht.tune(task, ht.Hub.open(folder), method=ht.FineTune(**QUICK), workers=1)


def test_a_time_limit_is_honoured_and_the_next_call_goes_on(task, hub):
    method = ht.FineTune(steps=4000, batch_size=12, learning_rates=(0.01,))
    started = time.monotonic()
    with pytest.raises(TrainingError, match="time limit"):
        ht.tune(task, hub.subset(["resnet-a"]), method=method, workers=1, time_limit=1)
    assert time.monotonic() - started < 30
    assert list(runs_folder().glob("cells/.*/checkpoint.pt"))


CHILD = """
import sys, hubtune as ht
task, hub = ht.Task.open(sys.argv[1]), ht.Hub.open(sys.argv[2])
method = ht.FineTune(steps=150, batch_size=12, learning_rates=(0.01,))
run = ht.tune(task, hub.subset(["resnet-a"]), method=method, workers=1, checkpoint_seconds=0)
print(run.metrics)
"""


def test_a_killed_tune_ends_with_the_same_metrics_when_it_is_started_again(task_file, models_folder, tmp_path):
    def child(runs: Path) -> subprocess.Popen:
        environment = {**os.environ, "HUBTUNE_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(task_file), str(models_folder)], env=environment, stdout=subprocess.PIPE, text=True
        )

    process = child(tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("cells/.*/checkpoint.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "killed").glob("cells/[0-9a-f]*/record.json"))
    resumed, _ = child(tmp_path / "killed").communicate(timeout=120)
    undisturbed, _ = child(tmp_path / "undisturbed").communicate(timeout=120)
    assert resumed == undisturbed != ""


def test_an_estimate_names_every_model_and_trains_none(task, hub):
    estimated = estimate(task, hub, ht.FineTune(**QUICK), budget=2)
    assert {row["name"] for row in estimated["rows"]} == set(hub.names)
    assert estimated["trained"] == 4
    assert estimated["seconds"] > 0
    assert not (runs_folder() / "cells").exists()


def test_methods_are_found_by_name_and_their_mistakes_are_told_together():
    assert method_named("fine-tune", {"steps": "7", "learning_rates": "0.1,0.2"}) == ht.FineTune(steps=7, learning_rates=(0.1, 0.2))
    assert method_named("hubtune.transfer.scratch:Scratch").name == "scratch"
    with pytest.raises(UnknownNameError, match="did you mean 'fine-tune'"):
        method_named("finetune")
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rates'"):
        method_named("fine-tune", {"learning_rate": 1})
    with pytest.raises(ConfigurationError, match=r"(?s)steps = -1.*batch_size = 0"):
        ht.FineTune(steps=-1, batch_size=0)


@pytest.mark.parametrize("method", [ht.FineTune(), ht.FineTune(steps=5, early_stopping=2), ht.Scratch(), ht.LinearProbe()])
def test_a_method_is_its_configuration_in_and_out_of_json(method):
    assert type(method).from_config(json.loads(json.dumps(method.config()))) == method


def test_what_is_no_run_cannot_be_loaded(tmp_path):
    with pytest.raises(RunError, match="holds no model"):
        ht.load(tmp_path)


def test_a_hub_emptied_by_a_filter_is_said(task, hub):
    with pytest.raises(ConfigurationError, match="hub is empty"):
        ht.tune(task, hub.where("params < 0"), method="fine-tune")


@pytest.mark.parametrize("budget", [0, -1, 4])
def test_a_budget_that_cannot_be_met_is_said(task, hub, budget):
    with pytest.raises(ConfigurationError, match="expected 1 to 3"):
        ht.search(hub, task, budget=budget)


def test_a_time_limit_holds_for_the_search_too(task, hub, monkeypatch):
    method = ht.LinearProbe()
    with pytest.raises(TrainingError, match="the time limit came before the search was done"):
        ht.tune(task, hub, method=method, budget=1, workers=1, time_limit=1e-6)
    with pytest.raises(TrainingError, match="the time limit came before the search was done"):
        ht.compare(task, hub, [method], budget=1, workers=1, time_limit=1e-6)
    with pytest.raises(SearchError, match="budget's seconds were spent"):
        ht.tune(task, hub, method=method, budget="1 model, 0.000001 s", workers=1, time_limit=1000)
    looks = []
    monkeypatch.setattr(scoring, "check_time", lambda deadline: looks.append(deadline) or check_time(0.0 if len(looks) > 6 else deadline))
    with pytest.raises(TrainingError, match="the same command with more time goes on from there"):
        ht.tune(task, hub, method=method, budget=1, workers=1, time_limit=1000)
    assert len(looks) > 6
