"""Laws of the small networks: timm's interface, the papers' maps and sizes, and published checkpoints."""

import json
import os
from pathlib import Path

import hubtune.nets  # first: it lets torchvision, which timm imports, load beside any torch build

# isort: split
import pytest
import timm
import torch

from hubtune.errors import ConfigurationError, UnknownNameError

NAMES = [
    "cifar_resnet8",
    "cifar_resnet14",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
    "vgg9",
    "cifar_mobilenet",
]
SMALL = ["cifar_resnet8", "vgg9", "cifar_mobilenet"]


def make(name, **options):
    if name == "vgg9":
        options.setdefault("width", 0.125)
    torch.manual_seed(0)
    return timm.create_model(name, **options).eval()


@pytest.mark.parametrize("name", NAMES)
def test_the_head_on_the_features_is_the_forward_pass(name):
    model = make(name, num_classes=7)
    x = torch.randn(2, 3, 32, 32)
    features = model.forward_features(x)
    assert model(x).shape == (2, 7)
    assert torch.equal(model.forward_head(features), model(x))
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    assert torch.equal(model.get_classifier()(pooled), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_without_classes_a_network_returns_its_pooled_features(name):
    with_head, without = make(name, num_classes=3), make(name, num_classes=0)
    without.load_state_dict({k: v for k, v in with_head.state_dict().items() if not k.startswith(("linear", "classifier"))})
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(without(x), with_head.forward_head(with_head.forward_features(x), pre_logits=True))
    with_head.reset_classifier(0)
    assert torch.equal(without(x), with_head(x))
    with_head.reset_classifier(5)
    assert with_head(x).shape == (2, 5)
    assert with_head.num_classes == 5


@pytest.mark.parametrize("name", SMALL)
def test_maps_are_what_feature_info_says(name):
    model = make(name)
    x = torch.randn(2, 3, 32, 32)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert [m.shape[1] for m in maps] == [info["num_chs"] for info in model.feature_info]
    assert [m.shape[2] for m in maps] == [32 // info["reduction"] for info in model.feature_info]
    chosen = model.forward_intermediates(x, indices=[0, -1], intermediates_only=True)
    assert torch.equal(chosen[0], maps[0])
    assert torch.equal(chosen[1], maps[-1])


@pytest.mark.parametrize("name", ["cifar_resnet8", "vgg9"])
def test_the_networks_of_the_papers_return_maps_after_their_relu(name):
    model = make(name)
    x = torch.randn(2, 3, 32, 32)
    last, maps = model.forward_intermediates(x)
    assert torch.equal(last, model.forward_features(x))
    assert all(m.min() >= 0 for m in maps)
    early, first = model.forward_intermediates(x, indices=[0], stop_early=True)
    assert torch.equal(early, maps[0])
    assert torch.equal(first[0], maps[0])


def test_a_resnet_returns_the_output_of_any_block():
    model = make("cifar_resnet20")
    x = torch.randn(2, 3, 32, 32)
    blocks = model.forward_intermediates(x, indices=model.block_names, intermediates_only=True)
    assert len(blocks) == 9
    stages = model.forward_intermediates(x, intermediates_only=True)
    assert all(torch.equal(blocks[3 * i + 2], stages[i]) for i in range(3))
    with pytest.raises(UnknownNameError, match=r"layer1\.3.*did you mean"):
        model.forward_intermediates(x, indices=["layer1.3"])


def test_vgg9_has_the_maps_of_the_l2t_ww_paper():
    with torch.device("meta"):
        model = timm.create_model("vgg9")
        maps = model.forward_intermediates(torch.empty(1, 3, 32, 32), intermediates_only=True)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in model.modules()) == 9


@pytest.mark.parametrize("name", SMALL)
def test_timm_wraps_a_network_as_a_feature_extractor(name):
    model = make(name, features_only=True)
    maps = model(torch.randn(2, 3, 32, 32))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameter_counts_are_the_papers(depth, millions):
    with torch.device("meta"):
        model = timm.create_model(f"cifar_resnet{depth}")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = hubtune.nets.cifar_resnet.BasicBlock(4, 8, 2, "A")
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


def test_shortcut_b_and_the_stem_bias_add_their_parameters_only():
    a, b = make("cifar_resnet20"), make("cifar_resnet20", shortcut="B", stem_bias=True)
    added = b.state_dict().keys() - a.state_dict().keys()
    assert {key.split(".")[0] + "." + key.split(".")[1] for key in added} == {"conv1.bias", "layer2.0", "layer3.0"}
    assert all("downsample" in key for key in added - {"conv1.bias"})
    assert b.layer2[0].downsample[0].bias is None


def test_any_image_size_works():
    for name in SMALL:
        assert make(name, num_classes=0)(torch.randn(1, 3, 64, 48)).ndim == 2


def test_mistakes_are_named():
    with pytest.raises(ConfigurationError, match="'C'"):
        timm.create_model("cifar_resnet8", shortcut="C")
    with pytest.raises(ConfigurationError, match="depth 9"):
        hubtune.nets.CifarResNet(9)
    with pytest.raises(ConfigurationError, match="width"):
        timm.create_model("vgg9", width=0.0)
    with pytest.raises(ConfigurationError, match="NHWC"):
        make("cifar_resnet8").forward_intermediates(torch.zeros(1, 3, 32, 32), output_fmt="NHWC")


@pytest.mark.real
@pytest.mark.skipif("HUBTUNE_REAL" not in os.environ, reason="HUBTUNE_REAL names no folder with models/checkpoints")
def test_published_checkpoints_load_strictly():
    folder = Path(os.environ["HUBTUNE_REAL"]) / "models" / "checkpoints"
    described = sorted(folder.glob("*.json"))
    assert described
    for path in described:
        config = json.loads(path.read_text())
        weights = torch.load(folder / config["file"], weights_only=True, map_location="cpu")[config["state_dict"]]
        prefixes = sorted(config["prefixes"].items(), key=lambda item: -len(item[0]))
        renamed = {}
        for key, value in weights.items():
            old, new = next(((o, n) for o, n in prefixes if key.startswith(o)), ("", ""))
            renamed[new + key[len(old) :]] = value
        model = timm.create_model(config["architecture"], num_classes=config["num_classes"], **config["model_args"])
        model.load_state_dict(renamed, strict=True)
