"""A model of the Hugging Face hub; the cache is faked with a folder."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from hubtune.errors import ModelError
from hubtune.hub import Hub
from hubtune.hub import huggingface as source


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with random weights, a script that must not run, and the network that was saved."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=6).eval()
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    (tmp_path / "modeling.py").write_text("raise SystemExit('ran')")
    asked = []

    def fake(repository, names, wanted):
        asked.append((repository, names))
        return next(tmp_path / name for name in names if (tmp_path / name).exists())

    monkeypatch.setattr(source, "file_from_huggingface", fake)
    return tmp_path, network, asked


@pytest.mark.parametrize("input_size", [None, 96])
def test_a_repository_loads_what_was_saved(repository, input_size):
    _, network, asked = repository
    hub = Hub.open("hf:someone/tiny-vit@v2")
    [card] = hub
    assert (card.name, card.source, card.num_classes, card.provenance) == ("tiny-vit", "hf:someone/tiny-vit@v2", 6, "someone")
    assert asked == [("someone/tiny-vit@v2", ("config.json",))]
    backbone = hub.load("tiny-vit", input_size=input_size)
    assert backbone.input_size == (input_size or 160)
    x = torch.randn(2, 3, backbone.input_size, backbone.input_size)
    with torch.no_grad():
        if input_size:
            network.set_input_size((96, 96))
        torch.testing.assert_close(backbone.logits(x), network(x), rtol=1e-5, atol=1e-5)


def test_weights_with_code_are_refused(repository):
    folder = repository[0]
    (folder / "model.safetensors").unlink()
    torch.save({"net": torch.nn.Linear(1, 1)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled Python objects"):
        Hub.open("hf:someone/tiny-vit").load("tiny-vit")


def test_weights_that_do_not_fit_are_refused(repository):
    save_file({"a": torch.ones(1)}, repository[0] / "model.safetensors")
    with pytest.raises(ModelError, match=r"(?s)tiny-vit.*Missing key"):
        Hub.open("hf:someone/tiny-vit").load("tiny-vit")


def test_other_libraries_are_named(repository):
    (repository[0] / "config.json").write_text(
        json.dumps({"architectures": ["ViTModel"], "model_type": "vit", "auto_map": {"AutoModel": "x.Y"}})
    )
    with pytest.raises(ModelError, match="transformers"):
        Hub.open("hf:someone/vit")


@pytest.mark.parametrize("content", ["5", "null", '"architecture"', '["architecture"]', "[" * 100_000])
def test_a_config_that_describes_nothing_is_named(repository, content):
    (repository[0] / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json of hf:someone/vit .*choose another model"):
        Hub.open("hf:someone/vit")


@pytest.mark.parametrize("change", [{"model_args": {"depth_of_field": 3}}, {"pretrained_cfg": {"mean": 5}}])
def test_what_this_timm_cannot_build_is_said_in_one_line(repository, change):
    path = repository[0] / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=r"^hf:someone/vit cannot be built by the timm that is installed \(TypeError: .*update timm.*$"):
        Hub.open("hf:someone/vit")


@pytest.mark.parametrize("spec", ["hf:foo bar/baz", "hf:/baz", "hf:foo/", "hf:foo/b--c@v2"])
def test_an_impossible_name_of_a_repository_is_refused(spec):
    with pytest.raises(ModelError, match=f"^{spec} names no repository .*expected ORG/NAME"):
        Hub.open(spec)


@pytest.mark.parametrize("spec", ["hf", "hf:", "hf:model", "hf:a/b/c"])
def test_a_repository_has_an_owner_and_a_name(spec):
    with pytest.raises(ModelError, match="expected hf:ORG/NAME"):
        Hub.open(spec)


def test_offline_a_missing_repository_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="hf:someone/never-seen is not on this machine"):
        Hub.open("hf:someone/never-seen")
