"""A routed hub of which only some models are in memory predicts what the whole one predicts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import hubtune as ht
from hubtune.errors import ConfigurationError, RunError

METHOD = ht.HubPathway(steps=6, batch_size=12, learning_rates=(0.001,), generator_width=8)
FRESH = """
import sys, numpy as np, hubtune as ht
images = np.load(sys.argv[2])
p = ht.load(sys.argv[1]).predict(images)
np.savez(sys.argv[3], probabilities=p.probabilities, path=p.path)
"""


@pytest.fixture
def images(task):
    return task.test.canvas(range(30), None).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def run(task, hub, tmp_path):
    return ht.tune(task, hub, method=METHOD, workers=1, out=tmp_path / "run")


def test_predictions_are_the_same_whatever_is_in_memory(run, hub, images):
    whole = ht.load(run.path).predict(images, batch_size=8)
    assert whole.models == hub.names
    for most in (1, 2, 3):
        model = ht.load(run.path, max_resident=most)
        lazy = model.predict(images, batch_size=8)
        assert (lazy.probabilities == whole.probabilities).all()
        assert (lazy.path == whole.path).all()
        assert lazy.models == whole.models
        assert 1 <= len(model.predictor.members[0]._shelf.resident) <= most
    assert len(list(ht.load(run.path, max_resident=1).predictor.members.parameters())) == 0


def test_a_fresh_process_predicts_the_same(run, images, tmp_path):
    here = ht.load(run.path).predict(images)
    np.save(tmp_path / "images.npy", images)
    arguments = (run.path, tmp_path / "images.npy", tmp_path / "there.npz")
    subprocess.run([sys.executable, "-c", FRESH, *map(str, arguments)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with np.load(tmp_path / "there.npz") as there:
        assert (there["probabilities"] == here.probabilities).all()
        assert (there["path"] == here.path).all()


def test_what_cannot_be_served_so_is_said(run, task, hub, images):
    with pytest.raises(ConfigurationError, match="max_resident = 0"):
        ht.load(run.path, max_resident=0)
    single = ht.tune(task, hub.subset(["resnet-a"]), method="linear-probe", workers=1)
    with pytest.raises(ConfigurationError, match="kind 'single'"):
        ht.load(single.path, max_resident=1)
    model = ht.load(run.path, max_resident=1)
    (run.path / "model" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="run the command that made them again"):
        model.predict(images)
    with pytest.raises(RunError, match="run the command that made them again"):
        ht.load(run.path, max_resident=1)


def test_paths_are_kept_with_the_predictions(run, images):
    [cell] = run.record["cells"]
    with np.load(f"{cell['path']}/predictions.npz") as predictions:
        np.testing.assert_array_equal(predictions["test_path"], ht.load(run.path).predict(images, batch_size=256).path)
    assert json.loads((run.path / "model" / "hubtune.json").read_text())["predictor"]["top_k"] == 2
