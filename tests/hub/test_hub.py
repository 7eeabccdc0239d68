"""A hub is an immutable ordered set of models."""

import pickle

import pytest
import torch
from torch import nn

from hubtune.errors import ConfigurationError, ModelError, UnknownNameError
from hubtune.hub import Hub, ModelCard
from hubtune.hub.hub import Entry


def fail(card, input_size):
    raise ZeroDivisionError("nothing to divide")


def entry(name: str, **fields) -> Entry:
    return Entry(ModelCard(**{"name": name, "source": "test", "architecture": "net", "params": 1, "input_size": 8, **fields}), fail)


def test_names_cards_and_length():
    hub = Hub([entry("b"), entry("a")], notes=["note", "note"])
    assert hub.names == ("b", "a")
    assert [card.name for card in hub] == ["b", "a"]
    assert len(hub) == 2
    assert "a" in hub
    assert "c" not in hub
    assert hub["a"].name == "a"
    assert hub.notes == ("note",)
    assert repr(hub) == "Hub(2 models: b, a)"


def test_an_unknown_name_suggests_the_nearest():
    hub = Hub([entry("resnet"), entry("vit")])
    for ask in (lambda: hub["resnett"], lambda: hub.load("resnett"), lambda: hub.subset(["resnett"])):
        with pytest.raises(UnknownNameError, match="did you mean 'resnet'"):
            ask()


def test_a_subset_keeps_the_order_given():
    hub = Hub([entry("a"), entry("b"), entry("c")])
    assert hub.subset(["c", "a"]).names == ("c", "a")
    assert hub.names == ("a", "b", "c")
    with pytest.raises(ConfigurationError, match="two models are called 'a'"):
        hub.subset(["a", "a"])


def test_where_keeps_the_order_of_the_hub():
    hub = Hub([entry("c", params=5), entry("a", params=50), entry("b", params=7)])
    assert hub.where("params < 10").names == ("c", "b")
    assert len(hub.where("params < 0")) == 0


def test_a_union_keeps_one_of_equal_models_and_refuses_unequal_ones():
    one, two = Hub([entry("a"), entry("b")]), Hub([entry("b"), entry("c")])
    assert (one | two).names == ("a", "b", "c")
    assert (one | one) == one
    with pytest.raises(ConfigurationError, match="two models are called 'b'"):
        one | Hub([entry("b", params=2)])


def test_any_failure_to_load_names_model_cause_and_remedy():
    with pytest.raises(ModelError, match=r"model 'a' from test cannot be loaded: ZeroDivisionError: nothing to divide; .*where"):
        Hub([entry("a")]).load("a")


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "96"])
def test_an_impossible_input_size_is_refused(size):
    with pytest.raises(ConfigurationError, match="input_size"):
        Hub([entry("a")]).load("a", input_size=size)


def test_each_load_is_a_fresh_copy(zoo):
    hub = Hub.open(zoo)
    first, second = hub.load("alpha"), hub.load("alpha")
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
        first.upstream_head.weight.zero_()
    third = hub.load("alpha")
    assert second.fingerprint == third.fingerprint != first.fingerprint


def test_loading_leaves_the_global_generator_alone(zoo):
    hub = Hub.open(zoo)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    hub.load("alpha")
    assert torch.equal(torch.rand(2), expected)


def test_a_hub_travels_to_workers(zoo):
    hub = Hub.open(zoo).add(nn.Conv2d(3, 2, 1), {"name": "own", "input_size": 8})
    twin = pickle.loads(pickle.dumps(hub))
    assert twin == hub
    for name in hub.names:
        assert twin.load(name).fingerprint == hub.load(name).fingerprint


def test_adding_a_network_leaves_the_hub_as_it_was(zoo):
    hub = Hub.open(zoo)
    more = hub.add(nn.Conv2d(3, 2, 1), {"name": "own", "input_size": 8})
    assert more.names == (*hub.names, "own")
    assert "own" not in hub
    with pytest.raises(ConfigurationError, match="two models are called 'own'"):
        more.add(nn.Conv2d(3, 2, 1), {"name": "own", "input_size": 8})
