"""Every method on points: those that apply work through the whole road, the others say so."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

import hubtune as ht
from hubtune.cli.main import app
from hubtune.errors import ConfigurationError, HubTuneError
from hubtune.pathway.batch_norm import batch_norms
from hubtune.pathway.students import best_by_probe
from hubtune.proxies import logme
from hubtune.selection.halving import FewSteps, SuccessiveHalving
from hubtune.selection.strategies import STRATEGIES
from hubtune.training.evaluation import evaluate
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.runtime import Runtime
from hubtune.workflow import method_named

QUICK = {"steps": 2, "batch_size": 8, "learning_rates": (0.001,)}
BASE = {"base_config": {"steps": 2, "batch_size": 8, "learning_rates": [0.001]}}
SETTING = Setting(seed=0, canvas_size=None, runtime=Runtime(device_name="cpu"))
WORKING = {
    "scratch": QUICK,
    "fine-tune": QUICK,
    "ensemble": BASE,
    "ensemble-top-k": {**BASE, "top_k": 1},
    "distill": QUICK | BASE,
    "hub-pathway": QUICK,
    "knowledge-flow": QUICK | {"student": "resnet-a"},
    "zoo-tuning": QUICK,
}


@pytest.fixture
def resnets(hub):
    return hub.subset(["resnet-a", "resnet-b"])


@pytest.mark.parametrize("name", WORKING)
def test_methods_that_apply(point_task, resnets, name):
    run = ht.tune(point_task, resnets, method=method_named(name, WORKING[name]), workers=1)
    assert run.metrics["test_nme"] > 0
    assert run.metrics["test_closeness"] == pytest.approx(1 - run.metrics["test_nme"])
    images = point_task.test.canvas(range(3), None).permute(0, 2, 3, 1).numpy()
    model = ht.load(run.path)
    assert len(repr(model)) < 200
    prediction = model.predict(images)
    assert prediction.points.shape == (3, 26, 2)
    with np.load(run.path / "predictions.npz") as kept:
        # Pixels of the image, where what is kept are fractions of it.
        np.testing.assert_allclose(prediction.points / 64, kept["test"][:3], atol=1e-5)
    assert (prediction.path is not None) == (name == "hub-pathway")


@pytest.mark.parametrize("name", ["linear-probe", "concat-probe", "multi-teacher", "aft", "l2t-ww"])
def test_methods_that_do_not_apply_say_so(point_task, resnets, name):
    with pytest.raises(HubTuneError, match="asked for a task of kind 'landmarks'; expected classification"):
        ht.tune(point_task, resnets, method=name, workers=1)


@pytest.mark.parametrize("method", [ht.FineTune, ht.HubPathway])
def test_heads_estimate_statistics_where_the_backbones_keep_theirs(point_task, hub, method):
    """A head's BatchNorm starts afresh: there is nothing in it to keep."""
    sized = {"generator_size": 16, "generator_width": 4} if method is ht.HubPathway else {}
    backbones = [hub.load("resnet-a"), hub.load("resnet-b")] if sized else [hub.load("resnet-a")]
    learner = method(**QUICK, **sized, batch_norm="frozen").learner(backbones, point_task, [], SETTING)
    before = {name: value.clone() for name, value in learner.predictor().named_buffers() if "running_mean" in name}
    learner.step(Batch(point_task.train.canvas(range(8), None), point_task.train.targets[:8], torch.arange(8)), 0.0)
    moved = {name for name, value in learner.predictor().named_buffers() if name in before and not torch.equal(value, before[name])}
    assert any("head" in name for name in moved)
    assert not any("backbone" in name for name in moved)


def test_statistics_of_a_head_are_those_of_the_student_alone(point_task, hub):
    learner = ht.KnowledgeFlow(**QUICK, student="resnet-a").learner([hub.load("resnet-a"), hub.load("resnet-b")], point_task, [], SETTING)
    [norm, *_] = batch_norms(learner.predictor().head)
    seen = []
    norm.register_forward_hook(lambda module, args, output: seen.append(module.momentum))
    learner.step(Batch(point_task.train.canvas(range(8), None), point_task.train.targets[:8], torch.arange(8)), 0.0)
    assert sorted(seen) == [0.0, 0.1]


def test_students_follow_what_can_be_read_from_the_maps(point_task, hub):
    """An average over the whole picture does not know where anything is: what the heads read does."""
    backbones = [hub.load("resnet-a"), hub.load("resnet-b")]
    canvas = point_task.train.canvas(range(16), None)
    found = []
    for backbone in backbones:
        with torch.no_grad():
            maps = backbone.eval().maps(backbone.view(canvas))[point_task.head(backbone).level]
        cells = F.adaptive_avg_pool2d(maps, 4).flatten(1)
        found.append(logme(cells, point_task.labels(point_task.train)))
    assert best_by_probe(backbones, point_task, SETTING) == found.index(max(found))


def test_first_paths_follow_what_each_model_comes_to_alone(point_task, hub):
    backbones = [hub.load("resnet-a"), hub.load("resnet-b")]
    batch = Batch(point_task.train.canvas(range(8), None), point_task.train.targets[:8], torch.arange(8))
    method = ht.HubPathway(steps=10, batch_size=8, top_k=1, prior=3.0, trial=0.3, generator_size=16, generator_width=4)
    learner = method.learner(backbones, point_task, [], SETTING)
    routed = learner.predictor()
    before = {name: value.clone() for name, value in routed.state_dict().items()}
    for step in range(3):
        assert set(learner.step(batch, step / 10)) == {"loss", "learning_rate"}
    moved = {name for name, value in routed.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"members"}
    assert all(any(name.startswith(f"members.{i}.head") for name in moved) for i in range(2))
    errors = torch.tensor([evaluate(member, point_task, point_task.val, None, Runtime())[1]["nme"] for member in routed.members])
    resumed = method.learner([hub.load("resnet-a"), hub.load("resnet-b")], point_task, [], SETTING)
    resumed.load_state_dict(copy.deepcopy(learner.state_dict()))
    for each in (learner, resumed):
        torch.manual_seed(3)
        each.step(batch, 0.3)
    assert all(torch.equal(value, resumed.predictor().state_dict()[name]) for name, value in routed.state_dict().items())
    expected = -3 * errors / errors.min()
    # AdamW's step at the first of its rates, 0.001, has moved the biases by that much.
    torch.testing.assert_close(routed.generator.preferred.bias, expected, rtol=0, atol=0.0011)
    assert not any(module.training is False for module in routed.modules())


def test_a_trial_is_of_points_and_part_of_the_steps(point_task, task):
    assert [(each.prior, each.explore) for each in ht.HubPathway(learning_rates=(0.01,)).variants(point_task)] == [(10.0, 0.01)]
    classes = ht.HubPathway(learning_rates=(0.01,), head_first=False)
    assert [(each.prior, each.explore) for each in classes.variants(task)] == [(0.0, 0.1)]
    tried = dataclasses.replace(classes, trial=0.5)
    assert [each.prior for each in tried.variants(task)] == [10.0]
    for method in (ht.HubPathway(protocol="paper"), ht.HubPathway(random_path=True), ht.HubPathway(trial=0.0)):
        assert {each.prior for each in method.variants(point_task)} == {0.0}
    with pytest.raises(ConfigurationError, match="without a trial"):
        ht.HubPathway(trial=0.0, prior=1.0).variants(point_task)


def test_a_vote_needs_classes(point_task, resnets):
    with pytest.raises(HubTuneError, match="vote was asked for"):
        ht.tune(point_task, resnets, method=ht.Ensemble(vote=True, **BASE), workers=1)


def test_training_brings_the_points_nearer(make_points, resnets):
    """Sixteen faces that all look alike are learnt by heart."""
    task = make_points(augmentation="none", heatmap_size=16)
    method = ht.FineTune(steps=30, batch_size=16, learning_rates=(0.01,), evaluations=3)
    run = ht.tune(task, resnets.subset(["resnet-a"]), method=method, workers=1)
    losses = [row["train_loss"] for row in run.record["history"]]
    assert losses[-1] < 0.9 * losses[0]


def test_the_report_shows_the_curve_and_the_pictures(point_task, resnets):
    run = ht.tune(point_task, resnets, method=method_named("hub-pathway", QUICK), workers=1)
    found = run.record["landmarks"]
    assert found["share"] == sorted(found["share"])
    errors = [sample["error"] for sample in found["samples"]]
    assert errors == sorted(errors)
    assert len(errors) == 10
    for sample in found["samples"]:
        with Image.open(run.path / sample["image"]) as picture:
            assert picture.size == (192, 192)
    page = (run.path / "report.html").read_text()
    assert "error-curve" in page
    assert "NME on test" in page
    assert page.count("points on test[") == 10
    card = (run.path / "model" / "README.md").read_text()
    assert "keypoint-detection" in card
    assert "prediction.points" in card


def test_a_search_by_evidence_picks_models_for_points(point_task, resnets):
    rank = ht.search(resnets, point_task, strategy="logme", budget=1)
    assert len(rank.picks) == 1
    assert all(row["error"] is None for row in rank.rows)


def test_predict_draws_the_points(point_task, resnets, tmp_path):
    run = ht.tune(point_task, resnets.subset(["resnet-a"]), method=method_named("fine-tune", QUICK), workers=1)
    wide = Image.fromarray(np.full((30, 50, 3), 128, dtype=np.uint8))
    wide.save(tmp_path / "face.png")
    result = CliRunner().invoke(app, ["predict", str(run.path), str(tmp_path / "face.png"), "--out", str(tmp_path / "drawn"), "--json"])
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)
    assert set(row["points"]) == set(point_task.point_names)
    with Image.open(row["picture"]) as picture:
        assert picture.size == (350, 210)
        assert len(picture.getcolors()) > 1


def test_a_box_says_where_the_face_is(point_task, resnets):
    run = ht.tune(point_task, resnets.subset(["resnet-a"]), method=method_named("fine-tune", QUICK), workers=1)
    model, face = ht.load(run.path), point_task.test.canvas([0], None)[0].permute(1, 2, 0).numpy()
    framed = np.zeros((100, 120, 3), dtype=np.uint8)
    framed[20:84, 10:74] = face
    alone, inside = model.predict(face[None]).points, model.predict(framed[None], boxes=[(10, 20, 64)]).points
    np.testing.assert_allclose(inside, alone + np.array([10, 20]), atol=1e-4)
    with pytest.raises(HubTuneError, match="0 boxes for 1 images"):
        model.predict(face[None], boxes=[])


def test_saved_heads_are_rebuilt(point_task, resnets):
    from hubtune.training.predictor import Single

    backbone = resnets.load("resnet-a")
    single = Single(backbone, point_task.head(backbone)).eval()
    again = Single.from_spec(json.loads(json.dumps(single.spec()))).eval()
    again.load_state_dict(single.state_dict())
    canvas = point_task.test.canvas(range(2), None)
    with torch.no_grad():
        assert torch.equal(again(canvas), single(canvas))


def test_a_search_by_classes_says_what_to_do(point_task, resnets):
    with pytest.raises(HubTuneError, match="strategy few-steps, logme, task-agnostic or random, or name the models"):
        ht.search(resnets, point_task, strategy="hybrid-linear", budget=1)


def test_a_search_by_steps_goes_by_the_tasks_own_metric(point_task, resnets):
    halving = SuccessiveHalving(proxy="logme", first=1.0, margin=2, steps=(2, 3))
    ranking = ht.search(resnets, point_task, halving, budget=1)
    assert all(row["score"] == row["scores"]["tuned"] < 1 for row in ranking.rows)
    assert ranking.rows[0]["score"] == max(row["score"] for row in ranking.rows)


def test_points_are_searched_by_few_steps_unless_told_otherwise(point_task, resnets, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "few-steps", FewSteps(steps=(2, 3)))
    ranking = ht.search(resnets, point_task, budget=1)
    assert ranking.strategy == "few-steps"
    assert [row["score"] for row in ranking.rows] == [row["scores"]["tuned"] for row in ranking.rows]
    # Two models, up to 32 faces a step, the validation split after each round; no features, which these heads cannot use.
    assert ranking.forward_passes == 2 * (3 * min(32, len(point_task.train)) + 2 * len(point_task.val))
    run = ht.tune(point_task, resnets, ht.FineTune(**QUICK), budget=1, workers=1)
    assert run.record["chosen"]["models"] == list(ranking.picks.names)
    with pytest.raises(ConfigurationError, match="which fine-tunes and computes none"):
        ht.search(resnets, point_task, FewSteps(steps=(2,)), budget=1, proxies=["logme"])
    with pytest.raises(ConfigurationError, match="cannot be kept by steps"):
        ht.search(resnets, point_task, FewSteps(steps=(2,)), budget="100 passes")
