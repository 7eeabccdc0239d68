import json

import pytest
import torch

import hubtune as ht
from hubtune.errors import ModelError
from hubtune.pathway.batch_norm import batch_norms
from hubtune.pathway.knowledge_flow import Flow, channels_of, flowing
from hubtune.training.learner import Batch

SGD = {"optimizer": "sgd", "schedule": "step", "warmup": 0.0}


def test_a_flow_mixes_own_and_teachers_maps_by_weights_that_sum_to_one():
    torch.manual_seed(0)
    flow = Flow([4, 6], [[3, 5, 7], [2]])
    assert flow.levels == [[0, 0], [2, 0]]
    maps = [[torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4), torch.randn(2, 7, 4, 4)], [torch.randn(2, 2, 4, 4)]]
    own = torch.randn(2, 6, 4, 4)
    weights = flow.scores.detach()[1].softmax(0)
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25]))
    first, second = flow.transforms[1]
    expected = weights[0] * own + weights[1] * first(maps[0][2]) + weights[2] * second(maps[1][0])
    torch.testing.assert_close(flow(1, own, maps), expected)
    assert flow.dependency().item() == pytest.approx(1.3862943)


@torch.no_grad()
def test_an_independent_student_is_itself(hub, task):
    student, teacher = hub.load("resnet-a"), hub.load("resnet-b")
    flow = Flow(channels_of(student), [channels_of(teacher)])
    canvas = task.test.canvas(range(4), None)
    maps = [teacher.maps(teacher.view(canvas))]
    alone = student.embed(student.view(canvas))
    with flowing(student, flow, maps):
        assert not torch.allclose(student.embed(student.view(canvas)), alone)
    flow.scores[:, 0] = 100.0
    with flowing(student, flow, maps):
        torch.testing.assert_close(student.embed(student.view(canvas)), alone)
    assert torch.equal(student.embed(student.view(canvas)), alone)


def test_training_makes_the_student_independent(task, hub, setting):
    method = ht.KnowledgeFlow(**SGD, steps=10, batch_size=12, learning_rates=(0.05,), dependency=5.0, student="resnet-a")
    learner = method.learner([hub.load("resnet-a"), hub.load("vit")], task, [], setting)
    [flow] = [module for module in learner._trained.modules() if isinstance(module, Flow)]
    before = flow.dependency().item()
    batch = Batch(task.train.canvas(range(12), None), task.train.targets[:12], torch.arange(12))
    for step in range(10):
        learner.step(batch, step / 10)
    assert flow.dependency().item() < 0.5 * before


def test_what_is_left_is_the_student(task, hub):
    method = ht.KnowledgeFlow(**SGD, steps=8, batch_size=12, learning_rates=(0.01,), student="resnet-a")
    run = ht.tune(task, hub.subset(["resnet-a", "resnet-b"]), method=method, workers=1)
    assert run.metrics["test_accuracy"] > 0.5
    assert json.loads((run.path / "model" / "hubtune.json").read_text())["predictor"]["kind"] == "single"


def test_a_student_without_maps_inside_is_said(task, hub, setting):
    learner = ht.KnowledgeFlow(steps=2, batch_size=4, student="vit").learner([hub.load("vit"), hub.load("resnet-a")], task, [], setting)
    batch = Batch(task.train.canvas(range(4), None), task.train.targets[:4], torch.arange(4))
    with pytest.raises(ModelError, match=r"vit.*name a convolutional network"):
        learner.step(batch, 0.0)


def test_statistics_are_those_of_the_student_alone(hub, task, setting):
    """Estimating BatchNorm anew on the student alone finds what training left there: mixed maps have not moved it."""
    seen = []
    student = hub.load("resnet-a")
    method = ht.KnowledgeFlow(steps=4, batch_size=12, learning_rates=(0.01,), student="resnet-a", head_first=False)
    learner = method.learner([student, hub.load("resnet-b")], task, [], setting)
    norms = batch_norms(learner.predictor())
    for norm in norms:
        norm.register_forward_hook(lambda module, args, output: seen.append(module.momentum) if module is norms[0] else None)
    learner.step(Batch(task.train.canvas(range(12), None), task.train.targets[:12], torch.arange(12)), 0.0)
    assert sorted(seen) == [0.0, 0.1]
    assert all(norm.momentum == 0.1 for norm in norms)
