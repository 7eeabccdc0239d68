"""torchvision's classifiers; weights from a faked download."""

import pytest
import torch
import torchvision
from torchvision.models import get_model, list_models

from hubtune.errors import ModelError, UnknownNameError
from hubtune.hub import Backbone, Hub, download
from hubtune.hub import torchvision as source

# Small networks that differ in how maps and heads lie: expected sides of the maps at 64 x 64.
FAMILIES = {
    "shufflenet_v2_x0_5": [32, 16, 8, 4, 2],
    "squeezenet1_1": None,
    "mnasnet0_5": [32, 16, 8, 4, 2],
    "mobilenet_v3_small": [32, 16, 8, 4, 2],
}


@pytest.fixture(params=FAMILIES)
def model(request, tmp_path, monkeypatch):
    """A network with random weights whose file stands for the published one."""
    torch.manual_seed(0)
    network = get_model(request.param, weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(source, "file_from_url", lambda url, wanted: tmp_path / "weights.pth")
    return request.param, network, Hub.open(f"torchvision:{request.param}").load(request.param, input_size=64)


def test_cards_come_from_torchvisions_metadata(monkeypatch):
    monkeypatch.setattr(source, "get_model", lambda *args, **kwargs: pytest.fail("built a network"))
    hub = Hub.open("torchvision")
    assert set(hub.names) >= set(list_models(module=torchvision.models))
    card = hub["resnet50"]
    assert (card.params, card.upstream_accuracy, card.upstream_dataset) == (25_557_032, 0.80858, "ImageNet-1k")
    assert card.flops == 8_178_000_000
    assert hub["efficientnet_b3"].input_size == 300
    assert hub["maskrcnn_resnet50_fpn"].paradigm == "instance segmentation"
    assert hub["regnet_y_128gf"].license == "cc-by-nc-4.0"


def test_outputs_are_those_of_torchvision(model):
    name, network, backbone = model
    canvas = torch.randint(0, 256, (2, 3, 50, 40), dtype=torch.uint8)
    with torch.no_grad():
        x = backbone.view(canvas)
        embedding = backbone.embed(x)
        assert embedding.shape == (2, backbone.feature_dim)
        if name.startswith("squeezenet"):
            assert backbone.num_logits == 0
            torch.testing.assert_close(embedding, network.features(x).mean((2, 3)))
        else:
            assert backbone.num_logits == 1000
            torch.testing.assert_close(backbone.logits(x), network(x), rtol=1e-5, atol=1e-5)
        maps = backbone.maps(x)
    if FAMILIES[name]:
        assert [feature.shape[2] for feature in maps] == FAMILIES[name]
    assert len(maps) == len(backbone.map_names)


def test_a_description_rebuilds_it(model):
    _, _, backbone = model
    twin = Backbone.from_spec(backbone.spec())
    twin.load_state_dict(backbone.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(twin.eval().embed(x), backbone.embed(x))
    assert (twin.input_size, twin.map_names, twin.num_logits) == (64, backbone.map_names, 0)


@pytest.mark.parametrize(
    "architecture", ["swin_t", "vit_b_16", "densenet121", "vgg11", "googlenet", "inception_v3", "resnet18", "convnext_tiny"]
)
def test_layers_are_found_without_weights(architecture):
    side = Hub.open(f"torchvision:{architecture}")[architecture].input_size
    feature_dim, layers = source._layout(architecture, side, side)
    expected = {"swin_t": 768, "vit_b_16": 768, "densenet121": 1024, "vgg11": 4096, "googlenet": 1024, "inception_v3": 2048}
    assert feature_dim == expected.get(architecture, feature_dim)
    known = {
        "resnet18": ("relu", "layer1", "layer2", "layer3", "layer4"),
        "swin_t": ("features.1", "features.3", "features.5", "features.7"),
    }
    assert layers == known.get(architecture, layers)
    assert 4 <= len(layers) <= 9


def test_older_names_of_weights_are_understood():
    old = ["features.denseblock1.denselayer1.norm.1.weight", "features.norm0.weight", "aux1.fc1.weight", "AuxLogits.fc.bias"]
    new = source._modern({name: torch.zeros(1) for name in old})
    assert set(new) == {"features.denseblock1.denselayer1.norm1.weight", "features.norm0.weight"}


def test_a_size_that_the_network_cannot_take_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "read_weights", lambda path: {})
    monkeypatch.setattr(source, "load_exactly", lambda network, state: set())
    monkeypatch.setattr(source, "file_from_url", lambda url, wanted: tmp_path)
    with pytest.raises(ModelError, match=r"vit_b_32 cannot take images of 96 x 96 .*made for 224 x 224"):
        Hub.open("torchvision:vit_b_32").load("vit_b_32", input_size=96)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        Hub.open("torchvision:resnet19")


def test_offline_a_missing_model_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(download, "_answers", lambda host, port: False)
    with pytest.raises(ModelError, match=r"model 'resnet18' .*download\.pytorch\.org does not answer"):
        Hub.open("torchvision:resnet18").load("resnet18")
