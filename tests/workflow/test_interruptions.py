"""What may go wrong under way: one line says what, and the same call goes on."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

import hubtune as ht
from hubtune.errors import RunError
from hubtune.runs import runs_folder

METHOD = ht.FineTune(steps=40, batch_size=12, learning_rates=(0.01,))


def tune(task, hub, **options):
    return ht.tune(task, hub.subset(["resnet-a"]), method=options.pop("method", METHOD), workers=1, **options)


@pytest.fixture
def undisturbed(task, hub, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setenv("HUBTUNE_RUNS", str(tmp_path / "undisturbed"))
        return tune(task, hub).metrics


@pytest.fixture
def stop(monkeypatch):
    """Time is over, for the loop, at its so-manieth look."""

    def at(look: int | None):
        looks = iter(range(10**6))
        monkeypatch.setattr("hubtune.training.loop.time", _Clock(lambda: 10**12 if look is not None and next(looks) >= look else 0.0))

    return at


class _Clock:
    def __init__(self, monotonic):
        self.monotonic = monotonic


@pytest.mark.parametrize("damage", ["lost", "cut", "foreign"])
def test_a_lost_or_damaged_checkpoint_costs_time_only(task, hub, undisturbed, stop, damage):
    stop(3)
    with pytest.raises(ht.HubTuneError, match="time limit"):
        tune(task, hub, time_limit=1000)
    [checkpoint] = runs_folder().glob("cells/.*/checkpoint.pt")
    if damage == "lost":
        checkpoint.unlink()
    else:
        checkpoint.write_bytes(checkpoint.read_bytes()[:500] if damage == "cut" else b"no checkpoint")
    stop(None)
    with contextlib.nullcontext() if damage == "lost" else pytest.warns(RuntimeWarning, match="is damaged: training starts anew"):
        assert tune(task, hub).metrics == undisturbed


@pytest.mark.parametrize("lost", ["record.json", "predictions.npz"])
def test_a_damaged_result_is_made_again(task, hub, lost):
    expected = tune(task, hub).metrics
    [path] = runs_folder().glob(f"cells/*/{lost}")
    path.write_text("{") if lost == "record.json" else path.unlink()
    assert tune(task, hub).metrics == expected


def test_in_time_or_not_the_best_model_so_far_is_handed_over(task, hub, undisturbed, stop):
    stop(20)
    run = tune(task, hub, time_limit=1000)
    assert "the time limit was reached at step" in run.record["unfinished"]
    assert run.record["warnings"][0].startswith("no training was finished in time")
    assert run.record["history"]
    assert ht.load(run.path).class_names == ("red", "green", "blue")
    stop(None)
    finished = tune(task, hub)
    assert finished.record["unfinished"] is None
    assert finished.metrics == undisturbed


def test_a_limit_before_anything_begins_is_said(task, hub):
    with pytest.raises(ht.HubTuneError, match="the time limit came before any training was finished"):
        tune(task, hub, time_limit=0)
    assert not list(runs_folder().glob("cells/.*/checkpoint.pt"))


def test_a_full_disk_is_one_line_and_the_repeat_goes_on(task, hub, undisturbed):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, most))
    try:
        with pytest.raises(ht.HubTuneError, match="File too large.*free some space") as caught:
            tune(task, hub)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert len(str(caught.value).splitlines()) <= 2  # what happened, and to which training
    assert tune(task, hub).metrics == undisturbed


def test_a_folder_that_cannot_be_written_is_one_line(task, hub):
    (runs_folder() / "cells").write_text("in the way")
    with pytest.raises(RunError, match="cannot be made .*HUBTUNE_RUNS") as caught:
        tune(task, hub)
    assert "\n" not in str(caught.value)


def test_ctrl_c_is_one_line_and_the_repeat_goes_on(task_file, models_folder, tmp_path):
    command = [sys.executable, "-m", "hubtune", "tune", str(task_file), "--hub", str(models_folder), "--models", "vit", "--workers", "1"]
    command += ["--set", "steps=2000", "--set", "learning_rates=0.01", "--set", "batch_size=12", "--device", "cpu"]
    environment = {**os.environ, "HUBTUNE_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("cells/.*/progress.json")):
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == 130
    assert "hubtune: interrupted; the same command goes on" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("cells/.*/checkpoint.pt"))
