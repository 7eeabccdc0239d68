"""Laws of the networks that come with the package: small, complete, and loadable by plain timm."""

import json
import re
from importlib.resources import files
from pathlib import Path

import hubtune.nets  # noqa: F401  first: it lets torchvision, which timm imports, load beside any torch build

# isort: split
import pytest
import safetensors.torch
import timm
import torch

HUB = Path(str(files("hubtune") / "hub" / "embedded"))
NAMES = sorted(path.parent.name for path in HUB.glob("*/config.json"))
CARD = {"pretraining", "paradigm", "upstream_dataset", "upstream_images", "upstream_accuracy", "provenance", "license"}


def config(name):
    return json.loads((HUB / name / "config.json").read_text())


def test_there_are_at_least_ten_networks_of_five_families():
    assert len(NAMES) >= 10
    assert {re.match("[a-z]+", name).group() for name in NAMES} >= {"convnext", "mobilenet", "resnet", "vgg", "vit"}


def test_all_weights_together_fit_in_ten_megabytes():
    assert sum(path.stat().st_size for path in HUB.rglob("*") if path.is_file()) <= 10e6


def test_the_readme_names_every_network():
    text = (HUB / "README.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_complete(name):
    described = config(name)
    assert described["card"].keys() == CARD
    assert 0 < described["card"]["upstream_accuracy"] < 1
    assert len(described["label_names"]) == described["num_classes"] == described["pretrained_cfg"]["num_classes"]
    assert described["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert described["card"]["license"] == described["pretrained_cfg"]["license"] == "apache-2.0"


@pytest.mark.parametrize("name", NAMES)
def test_timm_loads_the_weights(name):
    described = config(name)
    stored = safetensors.torch.load_file(HUB / name / "model.safetensors")
    assert all(v.dtype in (torch.float16, torch.int64) and torch.isfinite(v).all() for v in stored.values())
    model = timm.create_model(f"local-dir:{HUB / name}", pretrained=True).eval()
    assert all(torch.equal(model.state_dict()[key].half(), v.half()) for key, v in stored.items())
    assert all(p.dtype == torch.float32 for p in model.parameters())
    x = torch.randn(2, 3, 32, 32)
    assert model(x).shape == (2, described["num_classes"])
    model.reset_classifier(0)
    assert model(x).shape == (2, described["num_features"])


def test_experts_learned_from_fewer_images_than_generalists():
    images = {name: config(name)["card"]["upstream_images"] for name in NAMES}
    general = {name for name in NAMES if config(name)["card"]["upstream_dataset"] == "CIFAR-100"}
    assert general
    assert all(images[name] < min(images[g] for g in general) for name in NAMES if name not in general and "rotation" not in name)
