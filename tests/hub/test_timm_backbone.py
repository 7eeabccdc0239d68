"""Networks of timm: embedding, head, maps and input sizes of many families, with random weights."""

import json

import pytest
import timm
import torch

from hubtune.errors import ModelError
from hubtune.hub import Backbone, ModelCard
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone, resize

# architecture: (arguments, input size, spatial sides of the maps)
FAMILIES = {
    "cifar_resnet8": ({"shortcut": "A"}, 32, [32, 16, 8]),
    "vgg9": ({}, 32, None),
    "test_resnet": ({}, 64, [32, 16, 8, 4, 2]),
    "mobilenetv3_small_050": ({}, 64, [32, 16, 8, 4, 2]),
    "test_convnext": ({}, 64, [16, 8, 4, 2]),
    "test_vit": ({}, 160, [10, 10, 10, 10]),
    "swin_tiny_patch4_window7_224": ({"embed_dim": 12, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4]}, 224, [56, 28, 14, 7]),
    "dla46x_c": ({}, 64, None),
}


def backbone_of(architecture: str, args: dict, side: int, num_classes: int = 7, input_size: int | None = None):
    blueprint = Blueprint(architecture=architecture, model_args=args, pretrained_cfg={"input_size": (3, side, side)})
    torch.manual_seed(0)
    network = blueprint.build(num_classes)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    size = blueprint.measure()
    card = ModelCard(
        name="net", source="test", architecture=architecture, params=size.params, input_size=side, feature_dim=size.feature_dim,
        num_classes=num_classes,
    )  # fmt: skip
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = network(x)
    params = sum(p.numel() for p in network.parameters())
    return TimmBackbone.from_network(network, blueprint, card, input_size), x, expected, params


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    args, side, sides = FAMILIES[request.param]
    return (*backbone_of(request.param, args, side), sides)


def test_logits_are_those_of_the_whole_network(family):
    backbone, x, expected, _, _ = family
    with torch.no_grad():
        embedding = backbone.embed(x)
        assert embedding.shape == (2, backbone.feature_dim)
        assert torch.equal(backbone(x), embedding)
        torch.testing.assert_close(backbone.logits(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.classify(embedding), expected, rtol=1e-4, atol=1e-5)
    assert backbone.num_logits == 7


def test_sizes_are_counted_without_building(family):
    backbone, _, _, params, _ = family
    size = backbone.blueprint.measure()
    assert size.has_head
    assert size.params == sum(p.numel() for p in backbone.parameters())
    assert size.with_head(7)[0] == params
    assert size.feature_dim == backbone.feature_dim
    assert size.flops > 0


def test_maps_are_the_last_of_each_resolution(family):
    backbone, x, _, _, sides = family
    with torch.no_grad():
        maps = backbone.maps(x)
    assert len(maps) == len(backbone.map_names) == len(set(backbone.map_names)) > 0
    assert all(feature.ndim == 4 and feature.shape[0] == 2 for feature in maps)
    if sides:
        assert [feature.shape[2] for feature in maps] == [feature.shape[3] for feature in maps] == sides


def test_a_description_rebuilds_the_architecture(family):
    backbone, x, _, _, _ = family
    twin = Backbone.from_spec(json.loads(json.dumps(backbone.spec())))
    assert twin.num_logits == 0
    assert twin.card.num_classes == 0
    assert (twin.input_size, twin.feature_dim, twin.map_names) == (backbone.input_size, backbone.feature_dim, backbone.map_names)
    assert twin.fingerprint != backbone.fingerprint
    twin.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval().embed(x), backbone.embed(x))
    assert twin.spec() == {**backbone.spec(), "card": {**backbone.spec()["card"], "num_classes": 0}}


def test_random_weights_come_from_the_global_generator():
    backbone = backbone_of("cifar_resnet8", {}, 16)[0]
    prints = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        prints.append(Backbone.from_spec(backbone.spec()).fingerprint)
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "swin_tiny_patch4_window7_224"])
def test_another_input_size_keeps_the_weights(architecture):
    args, side, _ = FAMILIES[architecture]
    backbone = backbone_of(architecture, args, side, input_size=96)[0]
    canvas = torch.randint(0, 256, (1, 3, 50, 60), dtype=torch.uint8)
    with torch.no_grad():
        x = backbone.view(canvas)
        assert x.shape == (1, 3, 96, 96)
        assert backbone.embed(x).shape == (1, backbone.feature_dim)
        assert backbone.logits(x).shape == (1, 7)
        twin = Backbone.from_spec(backbone.spec()).eval()
        assert twin.input_size == 96
        twin.load_state_dict(backbone.state_dict())
        assert torch.equal(twin.embed(x), backbone.embed(x))
        assert [m.shape for m in twin.maps(x)] == [m.shape for m in backbone.maps(x)]


def test_convolutions_are_the_same_at_every_size():
    small, large = (backbone_of("test_resnet", {}, 64, input_size=size)[0] for size in (None, 96))
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), large.state_dict().values(), strict=True))


def test_an_architecture_that_cannot_change_its_size_says_so():
    blueprint = Blueprint(architecture="mixer_s32_224")
    with pytest.raises(ModelError, match=r"(?s)mixer_s32_224 cannot take images of 96 x 96 .* made for 224 x 224: leave input_size out"):
        resize(blueprint.build(2), blueprint, 96)


def test_a_size_below_what_the_network_can_take_says_so():
    with pytest.raises(ModelError, match="cannot take images of 1 x 1"):
        backbone_of("vgg9", {}, 32, input_size=1)


def test_a_head_that_is_more_than_a_function_of_the_embedding_is_left_out():
    # Two classifiers on two tokens: their mean is no function of the mean token.
    args = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    blueprint = Blueprint(architecture="deit_tiny_distilled_patch16_224", model_args=args)
    assert not blueprint.measure().has_head
    backbone, x, _, _ = backbone_of("deit_tiny_distilled_patch16_224", args, 224)
    assert backbone.num_logits == 0
    assert backbone.embed(x).shape == (2, 24)


def test_labels_of_a_configuration_are_not_part_of_a_description():
    cfg = {"label_names": ["a"] * 1000, "url": "https://example.org", "file": "/tmp/x", "custom_load": True, "num_classes": 1000}
    blueprint = Blueprint(architecture="test_resnet", pretrained_cfg=cfg)
    assert not set(cfg) & set(blueprint.pretrained_cfg)


def test_timm_is_asked_for_its_own_preprocessing():
    cfg = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear"}
    preprocessing = Blueprint(architecture="test_resnet", pretrained_cfg=cfg).preprocessing
    config = timm.data.resolve_data_config(pretrained_cfg=cfg)
    assert (preprocessing.mean, preprocessing.std, preprocessing.interpolation) == (config["mean"], config["std"], config["interpolation"])
