import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hubtune as ht
from hubtune.errors import ConfigurationError
from hubtune.pathway.zoo_tuning import MixedConv, ZooNetwork, mix
from hubtune.training.flops import flops


def convs(count=3, **options):
    torch.manual_seed(0)
    return [nn.Conv2d(4, 6, 3, padding=1, **options) for _ in range(count)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", [8, 4])  # in training the maps of the smaller side are summed, not the kernels
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"groups": 2, "stride": 2}])
def test_each_image_has_the_kernel_that_its_gate_mixes(options, side, training):
    mixed = MixedConv(convs(**options), lite=False).train(training)
    nn.init.normal_(mixed.align)
    x = torch.randn(5, 4, side, side)
    gate = mixed.gate(x.mean((2, 3))) * 2 / 3
    kernels = mixed.weight.unflatten(0, (3, 6))
    geometry = {"padding": 1, "stride": options.get("stride", 1), "groups": options.get("groups", 1)}
    for b in range(5):
        kernel = sum(gate[b, i] * torch.einsum("op,pikl->oikl", mixed.align[i], kernels[i]) for i in range(3))
        bias = None if mixed.bias is None else gate[b] @ mixed.bias
        torch.testing.assert_close(mixed(x)[b], F.conv2d(x[b : b + 1], kernel, bias, **geometry)[0], rtol=1e-4, atol=1e-5)


def test_small_maps_are_summed_in_training_only():
    mixed, x = MixedConv(convs(), lite=False), torch.randn(5, 4, 4, 4)
    gradients = []
    for training in (True, False):
        mixed.train(training).zero_grad()
        mixed(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in mixed.parameters()])
    for of_maps, of_kernels in zip(*gradients, strict=True):
        torch.testing.assert_close(of_maps, of_kernels, rtol=1e-4, atol=1e-4)
    # Three maps of 6 filters of 3 x 3 x 4 at 16 places, beside one; the gate and the mixing of kernels cost the same or less.
    assert flops(mixed.train(), x) > 2 * flops(mixed.eval(), x)


@pytest.mark.parametrize("lite", [True, False])
def test_equal_models_start_as_that_model(lite):
    [conv] = convs(1)
    mixed = MixedConv([conv, conv, conv], lite)
    for parameter in mixed.gate.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(mixed(x), conv(x), rtol=1e-4, atol=1e-5)


def test_the_lite_gate_is_one_for_all_images_and_settles():
    mixed = MixedConv(convs(), lite=True)
    x = torch.randn(6, 4, 8, 8)
    wanted = mixed.gate(x.mean((2, 3))).mean(0)
    for _ in range(100):
        mixed(x)
    torch.testing.assert_close(mixed.running, wanted.detach(), rtol=1e-3, atol=1e-4)
    assert not mixed.running.requires_grad
    mixed.eval()
    before = mixed.running.clone()
    torch.testing.assert_close(mixed(x)[:2], mixed(x[:2]), rtol=1e-4, atol=1e-5)
    assert torch.equal(before, mixed.running)


def test_a_mixed_network_is_rebuilt_from_its_spec(task, hub):
    backbones = [hub.load("resnet-a"), hub.load("resnet-b")]
    mix([backbone.network for backbone in backbones], lite=False)
    network = ZooNetwork(backbones[0], task.head(backbones[0]), 2, False).eval()
    canvas = task.test.canvas(range(4), None)
    fresh = ZooNetwork.from_spec(network.spec())
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh.eval()(canvas), network(canvas))


@pytest.mark.parametrize("name", ["zoo-tuning", "zoo-tuning-l"])
def test_the_zoo_learns_the_task(task, hub, name):
    from hubtune.workflow import method_named

    method = method_named(
        name, {"steps": 15, "batch_size": 12, "learning_rates": (0.01,), "optimizer": "sgd", "schedule": "step", "warmup": 0.0}
    )
    run = ht.tune(task, hub.subset(["resnet-a", "resnet-b"]), method=method, workers=1)
    assert run.metrics["test_accuracy"] > 0.5
    images = task.test.canvas(range(30), None).permute(0, 2, 3, 1).numpy()
    p = ht.load(run.path).predict(images)
    right = [task.class_names.index(label) == int(target) for label, target in zip(p.labels, task.test.targets, strict=True)]
    assert sum(right) / 30 == pytest.approx(run.metrics["test_accuracy"])


def test_a_zoo_of_several_architectures_is_refused_in_words(hub, task, setting):
    with pytest.raises(ConfigurationError, match="different architectures"):
        ht.ZooTuning(steps=5).learner([hub.load("resnet-a"), hub.load("vit")], task, [], setting)
