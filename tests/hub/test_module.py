"""Any network of one's own."""

import pytest
import torch
from torch import nn

from hubtune.errors import ConfigurationError, ModelError, UnknownNameError
from hubtune.hub import Hub, ModelCard
from hubtune.hub.hub import Hub as HubClass


class Net(nn.Module):
    """Two convolutions, a pooled linear classifier, and tokens on the side."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.tokens = nn.Identity()
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.body(self.stem(x))
        cls = x.mean((2, 3))[:, None]
        self.tokens(torch.cat([cls, x.flatten(2).transpose(1, 2)], 1))
        return self.fc(x.mean((2, 3)))


def hub_with(net: nn.Module, **options) -> HubClass:
    return Hub().add(net, {"name": "own", "input_size": 16}, **options)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_a_head_goes_beside_the_network(net):
    backbone = hub_with(net, head="fc").load("own")
    x = torch.randn(2, 3, 16, 16)
    net.eval()
    torch.testing.assert_close(backbone.logits(x), net(x))
    torch.testing.assert_close(backbone.embed(x), net.body(net.stem(x)).mean((2, 3)))
    assert (backbone.num_logits, backbone.feature_dim) == (5, 6)
    assert isinstance(net.fc, nn.Linear)


def test_the_card_is_completed_by_counting(net):
    card = hub_with(net, head="fc")["own"]
    assert card.params == sum(p.numel() for p in net.parameters())
    # multiply-adds: stem 8 x 8 x 4 x 27, body 4 x 4 x 6 x 36, head 6 x 5
    assert card.flops == 2 * (64 * 4 * 27 + 16 * 6 * 36 + 30)
    assert (card.feature_dim, card.num_classes, card.architecture, card.source) == (6, 5, "Net", "module")


def test_a_network_in_memory_is_no_download(net):
    assert hub_with(net).download_bytes("own") == 0


def test_the_network_decides_what_a_card_cannot(net):
    card = ModelCard(name="own", source="mine", architecture="n", params=3, input_size=16, feature_dim=99, num_classes=9, license="mit")
    full = Hub().add(net, card)["own"]
    assert (full.feature_dim, full.num_classes, full.license, full.source) == (5, 0, "mit", "mine")


@pytest.mark.parametrize(("layer", "dim"), [("stem", 4), ("body", 6), ("body.0", 6), ("tokens", 6)])
def test_a_named_layer_is_the_embedding(net, layer, dim):
    backbone = hub_with(net, embedding=layer).load("own")
    assert backbone.embed(torch.randn(2, 3, 16, 16)).shape == (2, dim)


def test_maps_are_the_outputs_of_named_layers(net):
    backbone = hub_with(net, maps=("stem", "body", "tokens")).load("own")
    x = torch.randn(2, 3, 16, 16)
    stem, body, tokens = backbone.maps(x)
    assert torch.equal(stem, backbone.network.stem(x))
    assert torch.equal(body, tokens)  # the class token is left out, the others lie in their square
    assert backbone.map_names == ("stem", "body", "tokens")
    assert not backbone.network.stem._forward_hooks
    body.sum().backward()
    assert backbone.network.stem.weight.grad is not None


def test_without_named_layers_there_are_no_maps(net):
    with pytest.raises(ModelError, match="maps="):
        hub_with(net).load("own").maps(torch.zeros(1, 3, 16, 16))


def test_the_network_is_copied_and_left_as_it_was(net):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    hub = hub_with(net, head="fc")
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    print_before = hub.load("own").fingerprint
    with torch.no_grad():
        net.stem.weight.zero_()
    assert hub.load("own").fingerprint == print_before


class Pooled(nn.Module):
    """A convolution, pooled by a function that is no part of its weights."""

    def __init__(self, pool):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.pool = pool

    def forward(self, x):
        return self.pool(self.stem(x), (2, 3))


def test_a_fingerprint_follows_what_a_network_computes_not_its_weights_alone():
    mean, largest = Pooled(torch.mean), Pooled(torch.amax)
    largest.load_state_dict(mean.state_dict())
    state = torch.get_rng_state()
    expected = hub_with(mean).load("own").fingerprint
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert hub_with(mean).load("own").fingerprint == expected
    assert hub_with(largest).load("own").fingerprint != expected


def test_a_network_that_draws_numbers_has_one_fingerprint(net):
    class Noisy(nn.Module):
        def forward(self, x):
            return torch.dropout(x.mean((2, 3)), 0.5, True)

    assert hub_with(Noisy()).load("own").fingerprint == hub_with(Noisy()).load("own").fingerprint


def test_another_input_size_is_tried_before_it_is_promised(net):
    hub = hub_with(net)
    assert hub.load("own", input_size=24).view(torch.zeros(1, 3, 9, 9, dtype=torch.uint8)).shape[-1] == 24
    fixed = Hub().add(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), {"name": "own", "input_size": 8})
    with pytest.raises(ModelError, match=r"cannot take an image of \(1, 3, 9, 9\)"):
        fixed.load("own", input_size=9)


def test_mistakes_are_named(net):
    with pytest.raises(UnknownNameError, match="did you mean 'stem'"):
        hub_with(net, maps=("stemm",))
    with pytest.raises(ConfigurationError, match="name and input_size"):
        Hub().add(net, {"name": "own"})
    with pytest.raises(UnknownNameError, match="field of a model card"):
        Hub().add(net, {"name": "own", "input_size": 8, "size": 3})
    with pytest.raises(ModelError, match="cannot take an image"):
        Hub().add(nn.Linear(3, 2), {"name": "own", "input_size": 8})
    with pytest.raises(ModelError, match=r"expected \(B, D\)"):
        Hub().add(nn.Flatten(0), {"name": "own", "input_size": 8})


def test_a_description_of_ones_own_network_is_refused_with_advice(net):
    with pytest.raises(ModelError, match="register_model"):
        hub_with(net).load("own").spec()
