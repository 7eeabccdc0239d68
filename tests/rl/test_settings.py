"""The configuration of Data-Efficient Rainbow, and scores."""

import dataclasses
import json

import pytest

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.rl import METHODS, DataEfficientRainbow, human_normalised, policy_method


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_configuration(name):
    method = policy_method(name, {"steps": "3000", "n_step": 5, "clip_reward": None})
    again = METHODS[name].from_config(json.loads(json.dumps(method.config())))
    assert again == method
    assert (again.steps, again.n_step, again.clip_reward) == (3000, 5, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.steps = 5  # type: ignore[misc]


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigurationError) as caught:
        DataEfficientRainbow(steps=0, batch_size=-1, discount=2.0)
    assert all(name in str(caught.value) for name in ("steps = 0", "batch_size = -1", "discount = 2.0"))
    with pytest.raises(ConfigurationError, match="expected the first below the second"):
        DataEfficientRainbow(lowest_return=1.0, highest_return=-1.0)
    with pytest.raises(ConfigurationError, match="expected more than n_step"):
        DataEfficientRainbow(replay_capacity=20)
    with pytest.raises(UnknownNameError, match="did you mean 'n_step'"):
        policy_method("scratch", {"n_steps": 3})
    with pytest.raises(UnknownNameError, match="did you mean 'hub-pathway'"):
        policy_method("hubpathway")


def test_importance_grows_from_its_start_to_one():
    settings = DataEfficientRainbow(steps=1000, learn_from=200)
    assert settings.importance_at(0) == settings.importance_at(200) == 0.4
    assert settings.importance_at(600) == pytest.approx(0.7)
    assert settings.importance_at(1000) == 1.0


def test_rewards_are_clipped_for_learning():
    assert [DataEfficientRainbow().clipped(reward) for reward in (-20.0, -0.5, 0.0, 100.0)] == [-1, -0.5, 0, 1]
    assert DataEfficientRainbow(clip_reward=None).clipped(100.0) == 100.0


def test_human_normalised_scores():
    assert human_normalised("Gopher", 257.6) == 0
    assert human_normalised("Gopher", 2412.5) == 1
    assert human_normalised("Pong", -20.7 + 0.5 * 35.3) == pytest.approx(0.5)
    assert human_normalised("Room", 3.0) is None
