"""Pools by name: conditions like any other."""

import pytest

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.hub import ModelCard
from hubtune.hub.pools import POOLS, expand
from hubtune.hub.query import select


def card(name: str, **fields) -> ModelCard:
    return ModelCard(**{"name": name, "source": "test", "architecture": "net", "params": 25_613_800, "input_size": 224, **fields})


# One of each of the paper's sources: ImageNet classifiers, a large one, a self-supervised one, and experts on parts of JFT.
CARDS = [
    card("resnet50-v2", pretraining="ImageNet-1k", upstream_dataset="ImageNet-1k", upstream_accuracy=0.756, feature_dim=2048),
    card(
        "pnasnet", params=86_000_000, pretraining="ImageNet-1k", upstream_dataset="ImageNet-1k", upstream_accuracy=0.829, feature_dim=4320
    ),
    card("rotation", pretraining="ImageNet-1k", paradigm="self-supervised", feature_dim=2048),
    card("expert-flowers", pretraining="JFT flowers", feature_dim=2048),
    card("expert-animals", pretraining="JFT animals", feature_dim=2048),
]
EXPECTED = {
    "All": ["resnet50-v2", "pnasnet", "rotation", "expert-flowers", "expert-animals"],
    "ResNet-50": ["resnet50-v2", "rotation", "expert-flowers", "expert-animals"],
    "Expert": ["expert-flowers", "expert-animals"],
    "ImNetAccuracies": ["resnet50-v2", "pnasnet"],
    "Dim2048": ["resnet50-v2", "rotation", "expert-flowers", "expert-animals"],
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_holds_what_the_paper_says(name):
    assert select(CARDS, f"pool:{name}") == select(CARDS, f" pool:{name.lower()} ") == EXPECTED[name]


def test_pools_lie_in_each_other_as_in_the_paper():
    members = {name: set(select(CARDS, f"pool:{name}")) for name in POOLS}
    assert members["Expert"] < members["ResNet-50"] <= members["Dim2048"] < members["All"]
    assert members["ImNetAccuracies"] < members["All"]


def test_a_pool_is_a_condition_among_others():
    assert select(CARDS, "pool:ResNet-50 and not pool:Expert") == ["resnet50-v2", "rotation"]
    assert select(CARDS, "pool:Expert or params > 5e7") == ["pnasnet", "expert-flowers", "expert-animals"]
    assert select(CARDS, "pretraining = 'pool:Expert'") == []
    assert expand("name = 'pool:nothing' and \"pool:x\"") == "name = 'pool:nothing' and \"pool:x\""


@pytest.mark.parametrize("condition", ["pool:", "pool: Expert", "pool:Expert; drop table cards", "pools:Expert"])
def test_the_rest_of_a_condition_is_checked_as_before(condition):
    with pytest.raises(ConfigurationError):
        select(CARDS, condition)


def test_an_unknown_pool_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'Expert'"):
        select(CARDS, "pool:Experts")


def test_a_pool_that_asks_for_a_field_that_is_not_known_says_so():
    with pytest.raises(ConfigurationError, match="no such column: feature_dim"):
        select(CARDS, "pool:Dim2048", ["name", "params"])
    assert select(CARDS, "params > 5e7", ["name", "params"]) == ["pnasnet"]
    assert select(CARDS, "name like 'expert%'", ["name"]) == EXPECTED["Expert"]
