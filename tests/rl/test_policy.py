"""A policy as a model of a hub."""

import json
import shutil

import pytest
import torch

from hubtune.errors import ConfigurationError, RunError
from hubtune.hub import Hub
from hubtune.nets import DuelingHead
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.rl import DataEfficientRainbow, HubPathway, Scratch, load_policy, open_policies, save_policy
from hubtune.rl.policy import fresh_backbone, fresh_head, keep_head

ACTIONS = ("UP", "RIGHT", "DOWN", "LEFT")


def stacks(count: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (count, 2, 30, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_saved_policy_computes_what_it_did_and_is_a_model_of_a_hub(policies):
    policy, card = load_policy(policies / "one")
    assert (card.game, card.actions, card.steps, card.method) == ("Room", ACTIONS, 30, "scratch")
    assert card.play == DataEfficientRainbow(**{name: value for name, value in card.settings.items() if name != "heads"})
    hub = Hub.open(policies / "one" / "model")
    [model] = hub
    assert (model.name, model.architecture, model.pretraining) == ("Room", "data_efficient_cnn", f"Room, 30 steps, score {card.score:.0f}")
    backbone = hub.load("Room")
    assert torch.equal(backbone.embed(backbone.view(stacks())), policy.backbone.embed(policy.backbone.view(stacks())))


@torch.no_grad()
def test_a_routed_hub_of_policies_is_saved_and_read(policies, sources, tiny, tmp_path):
    torch.manual_seed(0)
    hub = HubPathway(**tiny, top_k=1).start(sources, ACTIONS).policy.eval()
    _, card = load_policy(policies / "one")
    save_policy(hub, card, tmp_path / "hub")
    again, same_card = load_policy(tmp_path / "hub")
    assert isinstance(again, RoutedHub)
    assert same_card == card
    assert torch.equal(again(stacks()), hub(stacks()))
    assert again.path is not None
    assert ((again.path > 0).sum(1) == 1).all()
    with pytest.raises(RunError, match="no policy of one network"):
        open_policies([tmp_path / "hub"])


def test_policies_are_opened_from_runs_folders_and_files(policies):
    [one] = open_policies([policies / "one"])
    assert one.name == "Room"
    assert [one.sha256] == [policy.sha256 for policy in open_policies([policies / "one" / "model" / "Room.json"])]
    several = open_policies([policies / "one", policies / "two", policies / "wide"])
    assert [policy.name for policy in several] == [f"Room-{several[0].sha256[:6]}", f"Room-{several[1].sha256[:6]}", "WideRoom"]
    with pytest.raises(ConfigurationError, match="given twice"):
        open_policies([policies / "one", policies / "one" / "model"])


def test_folders_that_hold_no_policy_are_named(policies, models_folder, tmp_path):
    with pytest.raises(RunError, match="plays no game"):
        open_policies([models_folder / "resnet-a"])
    shutil.copytree(policies / "one" / "model", tmp_path / "model")
    (tmp_path / "model" / "policy.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match="cannot be read"):
        load_policy(tmp_path / "model")
    (tmp_path / "model" / "Room.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        load_policy(tmp_path / "model")


def test_a_head_is_kept_as_far_as_the_actions_agree(sources, tiny):
    settings = Scratch(**tiny)
    own = sources[0].head()

    def kept(part, actions):
        fresh = fresh_head(fresh_backbone(settings), len(actions), settings)
        note = keep_head(sources[0], fresh, actions, part)
        equal = {name for name, value in fresh.state_dict().items() if torch.equal(value, own.state_dict().get(name, torch.zeros(())))}
        return equal, note

    names = set(own.state_dict())
    hidden = {name for name in names if ".0." in name}
    assert kept("all", ACTIONS) == (names, None)
    assert kept("hidden", ACTIONS)[1] is None
    more = (*ACTIONS, "A", "B")
    found, note = kept("all", more)
    assert note is not None
    assert "has the 4 actions UP, RIGHT, DOWN, LEFT, and the game has the 6" in note
    assert found == {name for name in names if not name.startswith("advantage.2.")}
    for actions in (ACTIONS, more):
        found, note = kept("hidden", actions)
        assert hidden <= found
        assert not {"value.2.weight", "advantage.2.weight"} & found
    assert note is not None
    wider = DuelingHead(own.in_features, 4, atoms=own.atoms, hidden=own.hidden + 1)
    assert "another form" in (keep_head(sources[0], wider, ACTIONS, "all") or "")


def test_a_card_is_written_as_it_is(policies):
    content = json.loads((policies / "one" / "model" / "Room.json").read_text())
    assert content["policy"]["game"] == "Room"
    assert content["policy"]["actions"] == list(ACTIONS)
    assert "score" in content["policy"]
