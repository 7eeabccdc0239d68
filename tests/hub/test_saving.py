"""A saved network is what was trained, to plain timm too."""

import json

import pytest
import timm
import torch
from PIL import Image
from torch import nn

from hubtune.errors import ConfigurationError, ModelError
from hubtune.hub import Hub, ModelCard, export_timm
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone

NAMES = ["ant", "bée", "cat"]
FAMILIES = {
    "cifar_resnet8": ({"shortcut": "B", "stem_bias": True}, 32, None),
    "test_resnet": ({}, 64, None),
    "mobilenetv2_035": ({"pad_type": "same"}, 64, 48),
    "test_convnext": ({}, 64, None),
    "test_vit": ({}, 160, 96),
    "dla46x_c": ({}, 64, None),
}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    args, side, input_size = FAMILIES[request.param]
    cfg = {"input_size": (3, side, side), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": "bilinear", "license": "mit"}
    blueprint = Blueprint(architecture=request.param, model_args=args, pretrained_cfg=cfg)
    torch.manual_seed(0)
    card = ModelCard(name="net", source="test", architecture=request.param, params=1, input_size=side)
    return TimmBackbone.from_network(blueprint.build(5), blueprint, card, input_size)


@pytest.fixture(scope="module")
def head(backbone):
    torch.manual_seed(1)
    return nn.Linear(backbone.feature_dim, 3)


@pytest.fixture(scope="module")
def folder(backbone, head, tmp_path_factory):
    return export_timm(backbone, head, tmp_path_factory.mktemp("export") / "net", NAMES, {"pretraining": "Insects"})


def test_plain_timm_loads_the_same_outputs_and_names(backbone, head, folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    canvas = torch.randint(0, 256, (2, 3, 70, 50), dtype=torch.uint8)
    with torch.no_grad():
        x = backbone.view(canvas)
        torch.testing.assert_close(network(x), head(backbone.embed(x)), rtol=1e-5, atol=1e-5)
    assert network.pretrained_cfg["label_names"] == NAMES
    assert network.num_classes == 3


def test_timms_own_transform_squashes_as_the_view_does(backbone, folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    image = Image.effect_noise((70, 50), 60).convert("RGB").resize((71, 53))
    canvas = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, 53, 71, 3).permute(0, 3, 1, 2)
    expected = transform(image)
    assert (backbone.view(canvas)[0] - expected).abs().max() < 1.6 / 255 / 0.2  # PIL rounds after each of the two directions


def test_a_hub_opens_the_folder(backbone, head, folder):
    hub = Hub.open(folder)
    [card] = hub
    assert (card.pretraining, card.license, card.num_classes) == ("Insects", "mit", 3)
    assert hub.notes == ()
    loaded = hub.load(card.name)
    canvas = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded.logits(loaded.view(canvas)), head(backbone.embed(backbone.view(canvas))), rtol=1e-5, atol=1e-5)


def test_exporting_leaves_the_backbone_as_it_was(backbone, head, tmp_path):
    backbone.to(memory_format=torch.channels_last)
    before = backbone.fingerprint
    state = torch.get_rng_state()
    export_timm(backbone, head, tmp_path / "net", NAMES)
    assert backbone.fingerprint == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_folder_holds_no_path_of_this_machine(folder, tmp_path_factory):
    text = (folder / "config.json").read_text(encoding="utf-8")
    assert str(tmp_path_factory.getbasetemp()) not in text
    assert "bée" in text
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads(text)["architecture"]


def test_a_head_that_does_not_fit_is_refused(zoo, tmp_path):
    backbone = Hub.open(zoo).load("alpha")
    with pytest.raises(ConfigurationError, match="expected a head 64 -> 3"):
        export_timm(backbone, nn.Linear(64, 4), tmp_path, NAMES)
    with pytest.raises(ConfigurationError, match="expected a head 64 -> 3"):
        export_timm(backbone, nn.Linear(32, 3), tmp_path, NAMES)


def test_a_network_that_timm_does_not_know_is_refused(tmp_path):
    backbone = Hub().add(nn.Conv2d(3, 2, 1), {"name": "own", "input_size": 8}).load("own")
    with pytest.raises(ModelError, match="no network of timm"):
        export_timm(backbone, nn.Linear(2, 3), tmp_path, NAMES)
