"""Folders of models: what is found, how it loads, and that one broken file hides no other."""

import json
import re
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from hubtune.errors import ModelError
from hubtune.hub import Hub


def test_every_model_is_found_and_described(zoo):
    hub = Hub.open(zoo)
    assert hub.names == ("alpha", "gamma", "beta")
    assert hub.notes == ()
    card = hub["beta"]
    assert (card.architecture, card.num_classes, card.input_size, card.feature_dim) == ("cifar_resnet8", 4, 16, 64)
    assert (card.pretraining, card.upstream_accuracy, card.license) == ("Letters", 0.5, "mit")
    assert hub["gamma"].num_classes == 0
    assert hub["gamma"].paradigm == "self-supervised"


def test_parameters_are_those_of_the_network_with_its_head(zoo, networks):
    for card in Hub.open(zoo):
        assert card.params == sum(p.numel() for p in networks[card.name].parameters())
        assert card.flops is not None
        assert card.flops > 1e6


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_a_loaded_model_computes_what_was_saved(zoo, networks, name):
    backbone = Hub.open(zoo).load(name)
    network = networks[name]
    canvas = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    x = backbone.view(canvas)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    torch.testing.assert_close(x, (canvas / 255 - mean[:, None, None]) / std[:, None, None])
    with torch.no_grad():
        if name == "alpha":  # written in half precision
            network = type(network)(8, num_classes=5).eval()
            network.load_state_dict({k: v.half().float() if v.is_floating_point() else v for k, v in networks[name].state_dict().items()})
        expected = network(x)
        if backbone.num_logits:
            torch.testing.assert_close(backbone.logits(x), expected)
            torch.testing.assert_close(backbone.classify(backbone.embed(x)), expected)
        else:
            torch.testing.assert_close(backbone.embed(x), expected)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert not backbone.training


def test_a_source_opens_its_model_again(zoo):
    hub = Hub.open(zoo)
    for card in hub:
        assert list(Hub.open(card.source)) == [card]


def test_a_lacking_head_is_seen_at_once_in_safetensors_and_when_loading_elsewhere(zoo, tmp_path):
    shutil.copytree(zoo / "alpha", tmp_path / "safe")
    weights = {k: v for k, v in load_file(tmp_path / "safe" / "model.safetensors").items() if not k.startswith("linear.")}
    save_file(weights, tmp_path / "safe" / "model.safetensors")
    shutil.copytree(tmp_path / "safe", tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "saved" / "pytorch_model.bin")
    hub = Hub.open(tmp_path)
    assert hub["safe"].num_classes == 0
    for name in hub.names:
        assert hub.load(name).num_logits == 0
        with pytest.raises(ModelError, match="no upstream head"):
            hub.load(name).classify(torch.zeros(1, 64))


def test_weights_declared_unset_may_be_missing_and_are_drawn_alike_each_time(zoo, tmp_path):
    shutil.copytree(zoo / "gamma", tmp_path / "gamma")
    path, config = tmp_path / "gamma" / "model.safetensors", tmp_path / "gamma" / "config.json"
    weights = load_file(path)
    del weights["layer3.0.conv2.weight"]
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"1 lacking: layer3\.0\.conv2\.weight"):
        Hub.open(tmp_path).load("gamma")
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "card": {"unset": ["layer3.0.conv2.weight"]}}))
    hub = Hub.open(tmp_path)
    state = torch.get_rng_state()
    first = hub.load("gamma").fingerprint
    torch.rand(3)
    assert hub.load("gamma").fingerprint == first
    torch.set_rng_state(state)


def test_a_broken_weight_file_fails_at_load_alone(zoo, tmp_path):
    shutil.copytree(zoo, tmp_path / "zoo")
    (tmp_path / "zoo" / "alpha" / "model.safetensors").write_bytes(b"broken")
    hub = Hub.open(tmp_path / "zoo")
    assert len(hub) == 3
    with pytest.raises(ModelError, match=r"model 'alpha' from .*again"):
        hub.load("alpha")
    assert hub.load("gamma").feature_dim == 64


def test_weights_that_change_under_an_open_hub_are_refused_and_not_remembered(zoo, tmp_path):
    shutil.copytree(zoo / "alpha", tmp_path / "alpha")
    path = tmp_path / "alpha" / "model.safetensors"
    old = path.read_bytes()
    expected = Hub.open(tmp_path).load("alpha").fingerprint
    hub = Hub.open(tmp_path)
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ModelError, match=r"model\.safetensors has changed since the hub was opened; open the hub again"):
        hub.fingerprint("alpha")
    changed = Hub.open(tmp_path)
    assert changed.fingerprint("alpha") == changed.load("alpha").fingerprint != expected
    path.write_bytes(old)
    assert Hub.open(tmp_path).fingerprint("alpha") == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "cifar_resnet9"}, "did you mean 'cifar_resnet8'"),
        ({"architecture": "hf-hub:evil/model"}, "unknown architecture"),
        ({"architecture": 3}, "unknown architecture"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "checkpoint_path"),
        ({"model_args": {"shortcut": "Q"}}, "shortcut 'Q'"),
        ({"model_args": {"depth_of_field": 3}}, "depth_of_field"),
        ({"model_args": []}, None),
        ({"model_args": "x"}, "model_args"),
        ({"num_classes": -1}, "num_classes"),
        ({"card": {"upstream_accuracy": 91}}, "upstream_accuracy"),
        ({"card": ["a"]}, '"card"'),
        ({"pretrained_cfg": {"input_size": [3, 16, 24]}}, "square"),
        ({"pretrained_cfg": {"input_size": [1, 16, 16]}}, "3 channels"),
        ({"pretrained_cfg": {"input_size": 16}}, "input_size|TypeError"),
    ],
)
def test_what_cannot_be_understood_is_noted_and_hides_nothing(zoo, tmp_path, change, reason):
    shutil.copytree(zoo, tmp_path / "zoo")
    config = tmp_path / "zoo" / "alpha" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    hub = Hub.open(tmp_path / "zoo")
    if reason is None:
        assert len(hub) == 3
        return
    assert hub.names == ("gamma", "beta")
    [note] = hub.notes
    assert re.search(reason, note)
    assert "alpha" in note


@pytest.mark.parametrize("file", ["../alpha/model.safetensors", "/etc/passwd", "missing.pth", "", ".."])
def test_a_checkpoint_lies_beside_its_json(zoo, tmp_path, file):
    shutil.copytree(zoo, tmp_path / "zoo")
    path = tmp_path / "zoo" / "nested" / "checkpoints" / "beta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "file": file}))
    hub = Hub.open(tmp_path / "zoo")
    assert hub.names == ("alpha", "gamma")
    assert "file" in hub.notes[0]


def test_unknown_card_entries_are_noted(zoo, tmp_path):
    shutil.copytree(zoo / "gamma", tmp_path / "gamma")
    config = tmp_path / "gamma" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "card": {"paradim": "x"}}))
    hub = Hub.open(tmp_path)
    assert "paradim" in hub.notes[0]
    assert "paradigm" in hub.notes[0]


def test_other_files_are_passed_over(zoo, tmp_path):
    shutil.copytree(zoo, tmp_path / "zoo")
    (tmp_path / "zoo" / "record.json").write_text('{"metrics": {"accuracy": 1}}')
    (tmp_path / "zoo" / "list.json").write_text("[1, 2]")
    (tmp_path / "zoo" / "broken.json").write_text("{")
    (tmp_path / "zoo" / ".hidden").mkdir()
    (tmp_path / "zoo" / ".hidden" / "config.json").write_text("{")
    (tmp_path / "zoo" / "loop").symlink_to(tmp_path / "zoo")
    hub = Hub.open(tmp_path / "zoo")
    assert len(hub) == 3
    assert hub.notes == ()


def test_a_description_that_is_no_json_is_noted(zoo, tmp_path):
    shutil.copytree(zoo, tmp_path / "zoo")
    (tmp_path / "zoo" / "nested" / "checkpoints" / "beta.json").write_text("{broken")
    hub = Hub.open(tmp_path / "zoo")
    assert hub.names == ("alpha", "gamma")
    assert "JSON" in hub.notes[0]


def test_a_link_to_nowhere_hides_nothing(zoo, tmp_path):
    shutil.copytree(zoo, tmp_path / "zoo")
    (tmp_path / "zoo" / "lost.json").symlink_to(tmp_path / "nowhere.json")
    hub = Hub.open(tmp_path / "zoo")
    assert len(hub) == 3
    assert hub.notes == ()
    for description in (tmp_path / "zoo" / "alpha" / "config.json", tmp_path / "zoo" / "nested" / "checkpoints" / "beta.json"):
        description.unlink()
        description.symlink_to(tmp_path / "nowhere.json")
    hub = Hub.open(tmp_path / "zoo")
    assert hub.names == ("gamma",)
    assert ["alpha" in hub.notes[0], "beta" in hub.notes[1]] == [True, True]


def test_equal_names_are_told_apart_by_their_path(zoo, tmp_path):
    shutil.copytree(zoo / "alpha", tmp_path / "a" / "net")
    shutil.copytree(zoo / "gamma", tmp_path / "b" / "net")
    assert Hub.open(tmp_path).names == ("a/net", "b/net")


def test_a_folder_without_models_says_what_is_looked_for(tmp_path):
    with pytest.raises(ModelError, match=r"no model was found .*config\.json.*model\.safetensors.*\"file\""):
        Hub.open(tmp_path)


def test_a_folder_of_broken_models_says_why(zoo, tmp_path):
    shutil.copytree(zoo / "alpha", tmp_path / "alpha")
    (tmp_path / "alpha" / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ModelError, match="transformers"):
        Hub.open(tmp_path)


def test_a_checkpoint_with_code_fails_at_load(zoo, tmp_path):
    shutil.copytree(zoo, tmp_path / "zoo")
    torch.save(
        {"weights": {"a": torch.ones(1)}, "net": torch.nn.Linear(1, 1)}, tmp_path / "zoo" / "nested" / "checkpoints" / "beta.pth.tar"
    )
    hub = Hub.open(tmp_path / "zoo")
    with pytest.raises(ModelError, match=r"model 'beta' .*pickled Python objects"):
        hub.load("beta")


def test_a_prefix_replaced_by_null_leaves_weights_out_and_stacks_of_frames_are_images_too(tmp_path):
    network = timm.create_model("data_efficient_cnn", img_size=30, in_chans=2, num_classes=0)
    weights = {f"trunk.{name}": value for name, value in network.state_dict().items()} | {"head.weight": torch.ones(3)}
    save_file(weights, tmp_path / "policy.safetensors")
    cfg = {"input_size": [2, 30, 30], "mean": [0, 0], "std": [1, 1], "fixed_input_size": True}
    content = {"file": "policy.safetensors", "architecture": "data_efficient_cnn", "num_classes": 0, "pretrained_cfg": cfg}
    content |= {"model_args": {"in_chans": 2}, "prefixes": {"trunk.": "", "head.": None}}
    (tmp_path / "policy.json").write_text(json.dumps(content))
    hub = Hub.open(tmp_path)
    canvas = torch.randint(0, 256, (4, 2, 30, 30), dtype=torch.uint8)
    backbone = hub.load(hub.names[0])
    with torch.no_grad():
        torch.testing.assert_close(backbone.embed(backbone.view(canvas)), network.eval()(canvas / 255))
    with pytest.raises(ModelError, match=re.escape("expected torch.uint8 (B, 2, H, W)")):
        backbone.view(canvas[:, :1])
