"""Methods that leave one network: distill, multi-teacher, aft; and the probe on all features."""

import json

import pytest
import torch
import torch.nn.functional as F

import hubtune as ht
from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.pathway.aft import kernel_distance
from hubtune.pathway.distill import distillation_loss
from hubtune.pathway.multi_teacher import feature_distance
from hubtune.pathway.students import Teachers, best_by_probe
from hubtune.training.learner import Batch
from hubtune.workflow import method_named

SGD = {"optimizer": "sgd", "schedule": "step", "warmup": 0.0}
BASE = {"steps": 6, "batch_size": 12, "learning_rates": [0.01], **SGD}
QUICK = {"steps": 8, "batch_size": 12, "learning_rates": (0.01,), **SGD}


def test_distillation_alone_is_least_where_both_agree(task):
    targets = torch.tensor([0, 1, 2, 0])
    teacher = torch.randn(4, 3, dtype=torch.float64)
    student = teacher.clone().requires_grad_()
    loss = distillation_loss(task, student, teacher, targets, temperature=4.0, alpha=1.0)
    torch.testing.assert_close(loss, torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    loss.sum().backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-12, rtol=0)
    plain = distillation_loss(task, student, teacher, targets, temperature=4.0, alpha=0.0)
    torch.testing.assert_close(plain, F.cross_entropy(student, targets, reduction="none"))


def test_the_temperature_keeps_the_gradients_size(task):
    """Hinton et al. (2015), Equation 4: for high temperatures and centred logits the gradient is (student - teacher) / C."""
    student, teacher = (torch.randn(5, 4, dtype=torch.float64) for _ in range(2))
    student, teacher = student - student.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True)
    student.requires_grad_()
    distillation_loss(task, student, teacher, torch.zeros(5, dtype=torch.long), temperature=1e6, alpha=1.0).sum().backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 4, rtol=1e-3, atol=1e-5)


def test_kernels_compare_likeness_not_coordinates():
    features = torch.randn(8, 5, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    assert float(kernel_distance(features, 3 * features @ rotation + 2)) == pytest.approx(1e-4, rel=1e-3)
    assert float(kernel_distance(features, torch.randn(8, 5, dtype=torch.float64))) > 0.1


def test_a_perfect_prediction_of_the_teachers_costs_nothing():
    teachers = torch.randn(4, 6)
    assert torch.equal(feature_distance(teachers, teachers), torch.zeros(4))


@pytest.mark.parametrize("name", ["distill", "multi-teacher", "aft", "knowledge-flow"])
def test_the_careful_rate_keeps_the_statistics_as_in_fine_tune(task, name):
    expected = [((0.001,), "train"), ((0.0001,), "frozen")]
    for method in (method_named(name, {}), method_named("fine-tune", {})):
        assert [(variant.learning_rates, variant.batch_norm) for variant in method.variants(task)] == expected


def test_the_ensemble_that_teaches_may_vote(task):
    taught = ht.Distill(teacher_config={"vote": True}, base_config=BASE)
    *singles, teacher = taught.needs(("a", "b"), task)
    assert [need.models for need in singles] == [("a",), ("b",)]
    assert teacher.config == {"vote": True, "base": "fine-tune", "base_config": BASE}


@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_teachers_features_are_standardised_and_the_same_cached_or_not(task_file, hub, setting, augmentation):
    task = ht.Task.open(task_file, augmentation=augmentation)
    teachers = Teachers([hub.load("resnet-a"), hub.load("vit")], task, setting)
    batch = Batch(task.train.canvas(range(36), None), task.train.targets, torch.arange(36))
    features = teachers(batch)
    assert features.shape == (36, teachers.dim)
    torch.testing.assert_close(features.mean(0), torch.zeros(teachers.dim), atol=1e-3, rtol=0)
    plain = Teachers([hub.load("resnet-a"), hub.load("vit")], ht.Task.open(task_file), setting)(batch)
    torch.testing.assert_close(features, plain, atol=1e-3, rtol=1e-3)


def test_the_student_is_the_best_by_a_linear_probe(experts, expert_task, setting, monkeypatch):
    experts[1].embed = lambda x: F.one_hot((x[:, 1].mean((1, 2)) * 3).floor().long().clamp(0, 2), 3).float() * 4
    monkeypatch.setattr(type(experts[1]), "fingerprint", property(lambda self: f"{self.domain}" * 64))
    assert best_by_probe(experts, expert_task, setting) == 1


@pytest.mark.parametrize(
    "method",
    [
        ht.MultiTeacher(**QUICK, student="resnet-a"),
        ht.Aft(**QUICK),
        ht.Distill(**QUICK, base_config=BASE),
        ht.Distill(**QUICK, base_config=BASE, student="resnet-b", batch_norm="frozen"),
        ht.Distill(**QUICK, teacher="hub-pathway", teacher_config={**BASE, "generator_width": 8}),
    ],
    ids=lambda method: method.name,
)
def test_what_is_left_is_one_network_that_learnt_the_task(task, hub, method):
    hub = hub.subset(["resnet-a", "resnet-b"])
    run = ht.tune(task, hub, method=method, workers=1)
    assert run.metrics["test_accuracy"] > 0.6
    description = json.loads((run.path / "model" / "hubtune.json").read_text())
    assert description["predictor"]["kind"] == "single"
    if getattr(method, "student", None):
        assert description["predictor"]["backbone"]["card"]["name"] == method.student
    assert type(method).from_config(json.loads(json.dumps(method.config()))) == method


def test_students_and_hubs_that_cannot_work_are_said(task, hub, setting):
    with pytest.raises(UnknownNameError, match="did you mean 'resnet-a' or 'resnet-b'"):
        ht.Aft(**QUICK, student="resnet").learner([hub.load(name) for name in hub.names], task, [], setting)
    with pytest.raises(ConfigurationError, match="hub of one model, vit"):
        ht.MultiTeacher(**QUICK).learner([hub.load("vit")], task, [], setting)


def test_a_probe_on_all_features_does_as_well_as_on_each(task, hub):
    together = ht.tune(task, hub, method="concat-probe", workers=1)
    images = task.test.canvas(range(30), None).permute(0, 2, 3, 1).numpy()
    p = ht.load(together.path).predict(images)
    right = [task.class_names.index(label) == int(target) for label, target in zip(p.labels, task.test.targets, strict=True)]
    assert sum(right) / 30 == pytest.approx(together.metrics["test_accuracy"])
    assert together.metrics["val_accuracy"] > 0.8
