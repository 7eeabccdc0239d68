import pytest
import torch
import torch.nn.functional as F

from hubtune.errors import ConfigurationError, ModelError
from hubtune.training.supervised import Optimization, SupervisedLearner
from hubtune.transfer import L2TWW, AttentionTransfer, FeatureMatching, LwF, LwFAttention, Scratch
from hubtune.transfer.attention import attention
from hubtune.transfer.networks import Sources, make_target, of_unit_square

METHODS = (LwF, AttentionTransfer, LwFAttention, FeatureMatching)


def weights(learner):
    return [value.clone() for value in learner.predictor().state_dict().values()]


@pytest.mark.parametrize("method", METHODS)
def test_steps_lower_the_loss_and_leave_the_sources_alone(make, batch, hub, method):
    source = hub.load("resnet-a")
    before = source.fingerprint
    learner = make(method, [source, "vit"])
    losses = [float(learner.step(batch(), 0.0)["loss"]) for _ in range(6)]
    assert losses[-1] < losses[0]
    assert source.fingerprint == before
    assert not source.training


@pytest.mark.parametrize("method", METHODS)
def test_state_in_and_out_goes_on_bit_for_bit(make, batch, method):
    straight, first, second = make(method), make(method), make(method)
    for i in range(4):
        straight.step(batch(i), i / 10)
        (first if i < 2 else second).step(batch(i), i / 10)
        if i == 1:
            second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(second), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_weight_zero_is_training_from_scratch_bit_for_bit(make, task, batch, setting, method):
    zero = {name: (0.0,) for name in method.swept if name != "learning_rates"}
    learner = make(method, **zero)
    scratch = SupervisedLearner(
        make_target("cifar_resnet8", 16, task, setting.seed),
        task,
        steps=10,
        optimization=Optimization(learning_rate=0.05, weight_decay=1e-4, schedule="cosine"),
        runtime=setting.runtime,
    )
    for i in range(3):
        learner.step(batch(i), i / 10)
        scratch.step(batch(i), i / 10)
    assert all(torch.equal(a, b) for a, b in zip(weights(learner), weights(scratch), strict=True))


def test_unit_source_maps_weigh_alike_whatever_their_scale(hub, batch, setting):
    canvas = batch().canvas
    models = [hub.load("resnet-a"), hub.load("vit")]
    raw, unit = (Sources(models, setting.runtime, scale=scale)(canvas) for scale in ("raw", "unit"))
    for a, b in zip(raw, unit, strict=True):
        for x, y in zip(a.maps, b.maps, strict=True):
            torch.testing.assert_close(y.square().mean((1, 2, 3)), torch.ones(len(canvas)))
            torch.testing.assert_close(y * x.square().mean((1, 2, 3), keepdim=True).sqrt(), x)
    zeros = torch.zeros(2, 3, 4, 4)
    assert torch.equal(of_unit_square(zeros), zeros)


@pytest.mark.parametrize("method", [FeatureMatching, L2TWW])
def test_methods_that_match_maps_can_have_them_unit(make, batch, method):
    first = {scale: float(make(method, source_maps=scale).step(batch(), 0.0)["loss"]) for scale in ("raw", "unit")}
    assert first["raw"] != first["unit"]


def test_the_target_starts_where_training_from_scratch_starts(hub, task, setting):
    own = make_target("cifar_resnet8", 16, task, setting.seed)
    theirs = Scratch().learner([hub.load("resnet-a")], task, [], setting).predictor()
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_a_target_sees_what_its_architecture_is_registered_with(task):
    assert make_target("vgg9", None, task, 0).backbone.input_size == 32
    assert make_target("test_vit", None, task, 0).backbone.preprocessing.mean == (0.5, 0.5, 0.5)


def test_the_predictor_is_the_target_alone(make, task):
    predictor = make(LwFAttention).predictor()
    assert set(predictor.state_dict()) == set(make_target("cifar_resnet8", 16, task, 0).state_dict())


def test_chunks_change_nothing_but_batch_norm(make, batch):
    whole, halves = (make(FeatureMatching, target="convnext_atto", target_input_size=32) for _ in range(2))
    halves.halve_chunks()
    a, b = (learner.step(batch(), 0.0) for learner in (whole, halves))
    assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-5)


def test_variants_are_all_combinations(task):
    variants = LwFAttention(lwf_weights=(1, 2), at_weights=(0.1, 0.3), learning_rates=(0.1, 0.01)).variants(task)
    assert len(variants) == len(set(variants)) == 8


def test_a_source_without_a_head_has_no_logits_to_distil(make, hub, batch):
    headless = hub.load("resnet-a")
    headless._heads = ()
    with pytest.raises(ModelError, match=r"resnet-a has no upstream head.*use at or fm"):
        make(LwF, [headless])
    with pytest.warns(UserWarning, match="goes on as at alone"):
        learner = make(LwFAttention, [headless])
    assert "lwf_loss" not in learner.step(batch(), 0.0)
    with pytest.warns(UserWarning, match="resnet-a has no upstream head"):
        learner = make(LwF, [headless, "resnet-b"])
    assert learner.summary()["warnings"]
    assert float(learner.step(batch(), 0.0)["lwf_loss"]) > 0


def test_attention_maps_have_unit_length_and_ignore_scale():
    x = torch.rand(3, 4, 5, 6)
    torch.testing.assert_close(attention(x).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(attention(x), attention(7 * x))
    torch.testing.assert_close(attention(x), F.normalize(x.pow(2).sum(1).flatten(1)))
    assert attention(x, (2, 3)).shape == (3, 6)
    assert torch.isfinite(attention(torch.zeros(1, 2, 3, 3))).all()


def test_distillation_is_zero_where_the_target_says_what_the_source_says(make, batch):
    learner = make(LwF)
    term = learner._terms["lwf_loss"]
    [seen] = learner._remembered(batch(), maps=False, logits=True)
    layer = term.layers["0"]
    embedding = torch.linalg.lstsq(layer.weight.detach(), (seen.logits - layer.bias.detach()).T).solution.T
    loss = term(type(seen)(embedding=embedding), [seen])
    torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-5, rtol=0)


def test_a_batch_of_one_image_is_survived(make, batch):
    for method in METHODS:
        assert torch.isfinite(make(method).step(batch(rows=1), 0.0)["loss"])


def test_mistakes_are_told_together(task):
    with pytest.raises(ConfigurationError, match=r"(?s)target = 'vgg8'.*did you mean 'vgg9'.*batch_norm = 'frozen'"):
        LwF(target="vgg8", batch_norm="frozen")
    with pytest.raises(ConfigurationError, match="at least two"):
        LwF(batch_size=1).learner([], task, [], None)


def test_devices_and_sizes_that_cannot_be_used(hub, task, setting):
    with pytest.raises(ConfigurationError, match=r"source_device = 'nowhere'.*cuda:0"):
        Sources([hub.load("resnet-a")], setting.runtime, "nowhere")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match=r"source_device = 'cuda:1'"):
            Sources([hub.load("resnet-a")], setting.runtime, "cuda:1")
    with pytest.raises(ConfigurationError, match=r"vgg9.*8 x 8.*target_input_size"):
        make_target("vgg9", 8, task, 0)


def test_the_papers_schedule(task):
    method = LwF(protocol="paper", target="resnet18")
    assert method.scheduled_batch_size(task) == 36
    assert method.scheduled_steps(task) == 200
