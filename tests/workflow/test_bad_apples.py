"""One model that fails in a way nobody thought of, names that are no text, and models that are renamed spoil nothing."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import hubtune as ht
from hubtune.errors import ConfigurationError, HubTuneError, ModelError, of_model
from hubtune.hub.module import ModuleBackbone
from hubtune.runs import runs_folder
from hubtune.workflow.rounds import _one_text

PROBE = ht.LinearProbe()


class Moody(torch.nn.Module):
    """Works on small batches, such as those it is looked at with, and on no others."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if len(x) > 8:
            raise RuntimeError("not today\nnor tomorrow")
        return self.linear(x)


@pytest.fixture
def moody(hub, monkeypatch):
    monkeypatch.setattr(ModuleBackbone, "spec", lambda self: {})  # as if it could be built again
    return hub.subset(["resnet-a"]).add(Moody(), {"name": "moody", "input_size": 16})


def test_what_is_no_error_of_ours_is_told_of_its_model():
    found = of_model(ValueError("bad\nworse"))
    assert isinstance(found, ModelError)
    assert str(found).startswith("ValueError: bad; leave the model out")
    ours = ModelError("known")
    assert of_model(ours) is ours


def test_a_search_names_a_model_that_fails_and_scores_the_others(task, moody):
    ranking = ht.search(moody, task, "linear", budget=1)
    assert ranking.picks.names == ("resnet-a",)
    [failed] = [row for row in ranking.rows if row["error"]]
    assert failed["name"] == "moody"
    assert "RuntimeError: not today;" in failed["error"]


def test_a_tune_names_a_model_that_fails_and_hands_over_the_others(task, moody):
    run = ht.tune(task, moody, method=PROBE, workers=1)
    assert run.record["chosen"]["models"] == ["resnet-a"]
    assert any(warning.startswith("moody") and "not today" in warning for warning in run.record["warnings"])
    with pytest.raises(HubTuneError, match="moody: RuntimeError: not today"):
        ht.tune(task, moody.subset(["moody"]), method=PROBE, workers=1)


def test_errors_of_a_comparison_name_their_models_where_they_differ():
    assert _one_text({"a": "broken", "b": "broken"}) == "broken"
    assert _one_text({"a": "broken", "b": "torn", "c": "broken"}) == "a, c: broken; b: torn"


@pytest.mark.parametrize("method", [PROBE, ht.FineTune(), ht.HubPathway(top_k=1), ht.Aft(student="mine")])
def test_a_network_that_no_run_can_be_saved_with_is_refused_before_anything_is_trained(task, hub, method):
    mine = hub.add(torch.nn.Conv2d(3, 4, 1), {"name": "mine", "input_size": 16}).subset(["mine"])
    with pytest.raises(ConfigurationError, match="mine is a network of your own"):
        ht.tune(task, mine, method, workers=1)
    assert not list(runs_folder().glob("cells/*"))


def test_a_network_of_ones_own_can_teach_and_the_others_are_trained_without_it(task, hub):
    both = hub.subset(["resnet-a"]).add(torch.nn.Conv2d(3, 4, 1), {"name": "mine", "input_size": 16})
    run = ht.tune(task, both, ht.Aft(student="resnet-a", steps=3, learning_rates=(0.01,)), workers=1)
    assert run.record["chosen"]["models"] == ["resnet-a", "mine"]
    run = ht.tune(task, both, PROBE, workers=1)
    assert run.record["chosen"]["models"] == ["resnet-a"]
    assert any("mine is a network of your own" in warning for warning in run.record["warnings"])


def test_names_of_classes_that_are_no_text_lose_nothing(hub, tmp_path):
    for label, name in enumerate((b"caf\xe9", b"tea")):
        folder = os.path.join(os.fsencode(tmp_path / "photos"), name)
        os.makedirs(folder)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 99, (16, 16, 3), dtype=np.uint8) + 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(os.path.join(folder, b"%d.png" % i))
    run = ht.tune(ht.Task.open(str(tmp_path / "photos")), hub.subset(["resnet-a"]), method=PROBE, workers=1)
    model = ht.load(run.path)
    assert list(model.class_names) == ["caf\\udce9", "tea"]
    assert "caf\\udce9" in (run.path / "report.html").read_text()


def test_a_renamed_model_is_called_by_its_new_name_and_not_trained_again(task, models_folder, tmp_path):
    shutil.copytree(models_folder / "resnet-a", tmp_path / "hub" / "old")
    first = ht.tune(task, ht.Hub.open(tmp_path / "hub"), method=PROBE, workers=1)
    (tmp_path / "hub" / "old").rename(tmp_path / "hub" / "new[ft]")
    again = ht.tune(task, ht.Hub.open(tmp_path / "hub"), method=PROBE, workers=1)
    assert first.record["cells"][0]["id"] == again.record["cells"][0]["id"]
    assert again.record["chosen"]["models"] == ["new[ft]"]
    assert "new[ft]" in (again.path / "report.html").read_text()


def test_what_is_asked_differently_is_written_elsewhere(task, hub):
    one = hub.subset(["resnet-a"])
    runs = [ht.tune(task, one, method=PROBE, precision=precision, workers=1) for precision in ("no", "bf16")]
    assert runs[0].path != runs[1].path
    assert [run.record["request"]["precision"] for run in runs] == ["no", "bf16"]


def test_a_note_of_the_hub_is_in_the_record_and_a_note_of_the_task_is_said_once(task_file, models_folder, tmp_path):
    shutil.copytree(models_folder / "resnet-a", tmp_path / "hub" / "good")
    shutil.copytree(models_folder / "resnet-a", tmp_path / "hub" / "bad")
    (tmp_path / "hub" / "bad" / "config.json").write_text("{")
    task = ht.Task.open(task_file)
    run = ht.tune(task, ht.Hub.open(tmp_path / "hub"), method=PROBE, workers=1)
    assert any("bad" in warning and "config.json" in warning for warning in run.record["warnings"])
    assert not set(task.notes) & set(run.record["warnings"])
    assert run.record["task"]["notes"] == list(task.notes)
