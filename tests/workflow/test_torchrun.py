"""Processes that torchrun starts share every batch of a training."""

import json

import pytest

import hubtune as ht
from hubtune.runs import runs_folder
from hubtune.training.runtime import Runtime
from hubtune.workflow.planning import Plan, Wanted
from hubtune.workflow.running import CellRunner

OPTIONS = [
    "--models",
    "vit",
    "--set",
    "steps=10",
    "--set",
    "batch_size=12",
    "--set",
    "learning_rates=0.01,0.001",
    "--device",
    "cpu",
    "--json",
]


def test_two_processes_tune_as_one(torchrun, task, task_file, hub, models_folder, tmp_path, monkeypatch):
    command = ["-m", "hubtune", "tune", str(task_file), "--hub", str(models_folder), *OPTIONS, "--budget", "1", "--strategy", "linear"]
    shared = json.loads(torchrun(*command))  # one process spoke, once
    assert len(list(runs_folder().glob("cells/*/record.json"))) == 2
    assert not list(runs_folder().glob("cells/.*"))
    monkeypatch.setenv("HUBTUNE_RUNS", str(tmp_path))
    method = ht.FineTune(steps=10, batch_size=12, learning_rates=(0.01, 0.001))
    alone = ht.tune(task, hub.subset(["vit"]), method=method, workers=1)
    assert shared["chosen"]["config"]["learning_rates"] == alone.record["chosen"]["config"]["learning_rates"]
    for name, value in alone.metrics.items():
        assert shared["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_two_processes_wait_for_a_search_that_trains(torchrun, task_file, models_folder):
    options = ("--strategy", "few-steps", "--strategy-set", "steps=2,3", "--models", "vit,resnet-a", "--budget", "1", "--device", "cpu")
    found = json.loads(torchrun("-m", "hubtune", "search", str(task_file), "--hub", str(models_folder), *options, "--json"))
    assert len(found["picks"]) == 1
    assert all("tuned" in row["scores"] for row in found["rows"])


def test_folders_are_there_before_any_process_goes_on(task, hub, tmp_path):
    """The main process may be slow: another one makes no folder, and must find those of the trainings once it has been told."""

    class Second(Runtime):
        is_main = False

        def on_main(self, find):
            return find()

    runner = CellRunner(root=tmp_path, runtime=Second(device_name="cpu"), workers=1)
    plan = Plan(hub=hub, task=task, seed=0, input_size=None, precision="no", runner=runner)
    method = ht.FineTune(steps=2, batch_size=12, learning_rates=(0.01,))
    [outcome] = plan.do([Wanted(method=method, models=("vit",))])
    assert not outcome.errors
