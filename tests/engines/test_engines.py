"""One contract for the engines of this machine; a cluster obeys it in tests/workflow/test_ray.py."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from hubtune.engines import OneProcess, RayCluster, SideBySide, engine_named
from hubtune.errors import ConfigurationError, EngineError, MissingExtraError, UnknownNameError

ENGINES = [OneProcess(), SideBySide(workers=2)]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_job_is_answered_once_with_the_threads_asked_for(engine, jobs):
    assert dict(engine.do(partial(jobs.fraction, denominator=3), range(40))) == {job: job / 3 for job in range(40)}
    assert dict(engine.do(jobs.threads, [0, 1], threads=2)) == {0: 2, 1: 2}
    assert dict(engine.do(jobs.fraction, [])) == {}
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_a_job_ends_the_whole(engine, jobs):
    with pytest.raises(ValueError, match="wrong job"):
        list(engine.do(jobs.wrong, [1, 2]))


def test_the_jobs_of_a_killed_process_are_done_by_another(jobs, tmp_path):
    answers = dict(SideBySide(workers=2).do(partial(jobs.killed_once, folder=tmp_path), [0, 1, 2]))
    assert answers == {0: 0, 1: 1, 2: 2}
    assert (tmp_path / "1").exists()


def test_a_job_that_always_kills_its_process_is_an_error(jobs, monkeypatch):
    monkeypatch.setattr("hubtune.engines.side_by_side.ATTEMPTS", 2)
    with pytest.raises(EngineError, match="2 times in a row; memory may be too small"):
        list(SideBySide(workers=2).do(jobs.killed_always, [0, 1]))


def test_engines_have_names():
    assert engine_named("one-process") == OneProcess()
    assert engine_named("joblib", workers=3) == SideBySide(workers=3)
    assert engine_named("ray", gpus_per_worker=0.5) == RayCluster(gpus_per_worker=0.5)
    assert engine_named("ray://head:10001") == RayCluster(address="ray://head:10001")
    assert (RayCluster().default_device, RayCluster(gpus_per_worker=1).default_device) == ("cpu", "cuda")
    with pytest.raises(UnknownNameError, match="did you mean 'joblib'"):
        engine_named("jobli")
    with pytest.raises(ConfigurationError, match="0 for any engine but ray"):
        engine_named("joblib", gpus_per_worker=1)


def test_without_ray_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hubtune\[ray\]'"):
        list(RayCluster().do(str, [1]))


def test_naming_an_engine_imports_none_of_their_libraries():
    code = (
        "import sys; from hubtune.engines import engine_named; engine_named('ray'); "
        "assert not {'ray', 'joblib', 'torch'} & set(sys.modules), sorted({'ray', 'joblib', 'torch'} & set(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
