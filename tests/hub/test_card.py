"""A card is checked once, and survives JSON."""

import json

import pytest

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.hub import ModelCard
from hubtune.hub.card import FIELDS


def card(**fields) -> ModelCard:
    return ModelCard(**{"name": "a", "source": "test", "architecture": "net", "params": 10, "input_size": 32, **fields})


def test_a_card_survives_json():
    full = card(
        flops=5, feature_dim=3, num_classes=7, upstream_accuracy=0.25, upstream_dataset="Digits", upstream_images=9, sha256="0" * 64
    )
    assert ModelCard.from_dict(json.loads(json.dumps(full.to_dict()))) == full
    assert tuple(full.to_dict()) == FIELDS


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigurationError) as caught:
        card(name="", params=-1, input_size=0, upstream_accuracy=75.0, sha256="xyz", feature_dim=True)
    for field in ("name", "params", "input_size", "upstream_accuracy", "sha256", "feature_dim"):
        assert f"{field} = " in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("params", 1.5), ("params", 2**63), ("flops", -1), ("num_classes", None), ("upstream_accuracy", float("nan")), ("license", 3)],
)
def test_impossible_values_are_refused(field, value):
    with pytest.raises(ConfigurationError, match=field):
        card(**{field: value})


def test_an_unknown_key_suggests_the_nearest_field():
    with pytest.raises(UnknownNameError, match="did you mean 'params'"):
        ModelCard.from_dict({**card().to_dict(), "parms": 3})


def test_missing_fields_are_named():
    with pytest.raises(ConfigurationError, match="architecture, params, input_size"):
        ModelCard.from_dict({"name": "a", "source": "b"})


def test_a_card_cannot_change():
    with pytest.raises(AttributeError):
        card().name = "b"  # type: ignore[misc]
