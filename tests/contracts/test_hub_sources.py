"""What every source of models promises, run over each entry of SOURCES; those that download get a faked cache."""

import copy
import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from hubtune.errors import HubTuneError
from hubtune.hub import SOURCES, Backbone, Hub, ModelCard, huggingface, torchvision, trunks
from hubtune.hub import demo as demo_module
from hubtune.hub import timm as timm_source
from hubtune.hub.timm_backbone import Blueprint


def folder_with_a_model(folder):
    import hubtune.nets  # noqa: F401

    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model("cifar_resnet8", num_classes=4), folder / "tiny", safe_serialization=True)
    return folder


def open_local(tmp_path, monkeypatch):
    return Hub.open(folder_with_a_model(tmp_path))


def open_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "FOLDER", folder_with_a_model(tmp_path))
    return Hub.open("demo")


def open_timm(tmp_path, monkeypatch):
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(timm_source, "cached_huggingface", lambda repository, names: tmp_path / "model.safetensors")
    return Hub.open("timm:test_resnet.r160_in1k")


def open_torchvision(tmp_path, monkeypatch):
    torch.manual_seed(0)
    torch.save(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(torchvision, "file_from_url", lambda url, wanted: tmp_path / "weights.pth")
    return Hub.open("torchvision:shufflenet_v2_x0_5")


def open_huggingface(tmp_path, monkeypatch):
    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model("test_vit", num_classes=3), tmp_path, safe_serialization=True)
    monkeypatch.setattr(huggingface, "file_from_huggingface", lambda repository, names, wanted: tmp_path / names[0])
    return Hub.open("hf:someone/tiny")


def open_paper(tmp_path, monkeypatch):
    torch.manual_seed(0)
    short = Blueprint(architecture="resnet50", model_args={"layers": [1, 1, 1, 1]}, pretrained_cfg={"input_size": (3, 224, 224)})
    torch.save({f"backbone.{name}": tensor for name, tensor in short.build().state_dict().items()}, tmp_path / "checkpoint.pth")
    monkeypatch.setattr(trunks, "_blueprint", lambda: short)
    monkeypatch.setattr(trunks, "file_from_url", lambda url, wanted: tmp_path / "checkpoint.pth")
    return Hub.open("paper:homogeneous").subset(["deeplabv3_resnet50"])


def open_module(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return Hub().add(network, {"name": "own", "input_size": 24}, head="4", maps=("1",))


OPENERS = {
    "local": open_local,
    "demo": open_demo,
    "timm": open_timm,
    "torchvision": open_torchvision,
    "hf": open_huggingface,
    "paper": open_paper,
    "module": open_module,
}


def test_every_source_is_checked():
    assert set(OPENERS) == {*SOURCES, "module"}


@pytest.fixture(scope="module", params=OPENERS)
def hub(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield OPENERS[request.param](tmp_path_factory.mktemp(request.param), monkeypatch)


@pytest.fixture(scope="module")
def card(hub):
    return next(iter(hub))


@pytest.fixture(scope="module")
def backbone(hub, card):
    """At a size of its own, which is quick."""
    return hub.load(card.name, input_size=64)


@pytest.fixture(scope="module")
def canvas():
    return torch.randint(0, 256, (3, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_card_says_what_a_filter_needs_and_survives_json(hub, card):
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert card.params > 0
    assert card.flops is not None
    assert card.flops > 0
    assert hub.where(f"params = {card.params} and flops = {card.flops} and input_size = {card.input_size}").names == (card.name,)


def test_loading_is_deterministic_and_fresh(hub, card, backbone):
    torch.manual_seed(torch.seed() % 1000)
    again = hub.load(card.name, input_size=64)
    assert again.fingerprint == backbone.fingerprint
    assert again is not backbone
    with torch.no_grad():
        next(again.parameters()).zero_()
    assert hub.load(card.name, input_size=64).fingerprint == backbone.fingerprint


def test_it_comes_as_float32_on_the_cpu_in_evaluation_mode(backbone):
    assert not any(module.training for module in backbone.modules())
    assert {(p.dtype, p.device.type, p.requires_grad) for p in backbone.parameters()} == {(torch.float32, "cpu", True)}


def test_without_an_input_size_the_cards_is_taken(hub, card):
    assert hub.load(card.name).input_size == card.input_size
    assert hub.load(card.name, input_size=card.input_size).fingerprint == hub.load(card.name).fingerprint


def test_embedding_maps_and_logits_have_the_promised_shapes(card, backbone, canvas):
    with torch.no_grad():
        x = backbone.view(canvas)
        embedding = backbone.embed(x)
        assert x.shape == (3, 3, 64, 64)
        assert x.dtype == torch.float32
        assert embedding.shape == (3, backbone.feature_dim)
        assert backbone.feature_dim == (card.feature_dim or backbone.feature_dim)
        assert torch.equal(backbone(x), embedding)
        maps = backbone.maps(x)
        assert len(maps) == len(backbone.map_names) > 0
        assert all(feature.ndim == 4 and len(feature) == 3 for feature in maps)
        assert backbone.num_logits == card.num_classes
        if backbone.num_logits:
            assert backbone.logits(x).shape == (3, backbone.num_logits)
            torch.testing.assert_close(backbone.logits(x), backbone.classify(embedding))
        else:
            with pytest.raises(HubTuneError, match="no upstream head"):
                backbone.logits(x)


def test_rows_are_independent(backbone, canvas):
    with torch.no_grad():
        assert torch.equal(backbone.view(canvas)[1:2], backbone.view(canvas[1:2]))
        together, alone = backbone.embed(backbone.view(canvas)), backbone.embed(backbone.view(canvas[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_using_a_model_leaves_it_unchanged(backbone, canvas):
    before = backbone.fingerprint
    with torch.no_grad():
        x = backbone.view(canvas)
        first = backbone.embed(x)
        backbone.maps(x)
        assert torch.equal(backbone.embed(x), first)
    assert backbone.fingerprint == before


def test_a_fingerprint_changes_with_weights_size_and_preprocessing_only(hub, card, backbone):
    twin = copy.deepcopy(backbone)
    assert twin.train().fingerprint == backbone.fingerprint
    with torch.no_grad():
        next(twin.parameters()).view(-1)[0] += 1
    assert twin.fingerprint != backbone.fingerprint
    assert hub.load(card.name, input_size=96).fingerprint != backbone.fingerprint
    twin = copy.deepcopy(backbone)
    twin.preprocessing = type(twin.preprocessing)(**{**vars(twin.preprocessing), "mean": (0.1, 0.2, 0.3)})
    assert twin.fingerprint != backbone.fingerprint


def test_a_description_rebuilds_the_same_architecture_with_other_weights(card, backbone, canvas):
    if card.source == "module":
        with pytest.raises(HubTuneError, match="register_model"):
            backbone.spec()
        return
    twin = Backbone.from_spec(json.loads(json.dumps(backbone.spec())))
    assert twin.fingerprint != backbone.fingerprint
    assert twin.num_logits == twin.card.num_classes == 0
    twin.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval().embed(twin.view(canvas)), backbone.embed(backbone.view(canvas)))
    assert (twin.feature_dim, twin.map_names, twin.input_size) == (backbone.feature_dim, backbone.map_names, backbone.input_size)


def test_a_gradient_reaches_every_parameter_and_no_upstream_head(backbone, canvas):
    twin = copy.deepcopy(backbone)
    twin.embed(twin.view(canvas)).square().sum().backward()
    assert all(p.grad is not None for p in twin.parameters())
    assert twin.upstream_head is None or all(p.grad is None for p in twin.upstream_head.parameters())
