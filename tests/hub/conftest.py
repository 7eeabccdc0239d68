"""Small networks in folders, as users have them."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

import hubtune.nets  # noqa: F401

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def cfg_of(side: int, num_classes: int) -> dict:
    return {
        "input_size": [3, side, side],
        "mean": MEAN,
        "std": STD,
        "interpolation": "bilinear",
        "num_classes": num_classes,
        "license": "mit",
        "classifier": "linear",
        "first_conv": "conv1",
    }


def network_of(seed: int, num_classes: int, **args) -> torch.nn.Module:
    """A CIFAR ResNet whose BatchNorm statistics are not the initial ones."""
    torch.manual_seed(seed)
    network = timm.create_model("cifar_resnet8", num_classes=num_classes, **args).eval()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return network


def write_local_dir(folder, network, num_classes: int, args: dict | None = None, card: dict | None = None, half: bool = True) -> None:
    folder.mkdir(parents=True)
    state = {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = {"architecture": "cifar_resnet8", "num_classes": num_classes, "pretrained_cfg": cfg_of(16, num_classes)}
    (folder / "config.json").write_text(json.dumps({**config, "model_args": args or {}, "card": card or {}}))


def write_checkpoint(folder, name: str, network, num_classes: int, args: dict, prefix: str = "module.") -> None:
    """A training checkpoint with other names inside, and the JSON that describes it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {prefix + key.replace("linear.", "fc."): tensor for key, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "best": 0.5, "weights": state}, folder / f"{name}.pth.tar")
    description = {
        "file": f"{name}.pth.tar",
        "architecture": "cifar_resnet8",
        "num_classes": num_classes,
        "model_args": args,
        "state_dict": "weights",
        "prefixes": {"module.": "", "module.fc.": "linear."},
        "pretrained_cfg": cfg_of(16, num_classes),
        "card": {"pretraining": "Letters", "upstream_accuracy": 0.5, "upstream_dataset": "Letters"},
    }
    (folder / f"{name}.json").write_text(json.dumps(description))


@pytest.fixture(scope="session")
def networks() -> dict[str, torch.nn.Module]:
    """The networks that ``zoo`` holds."""
    return {"alpha": network_of(0, 5), "beta": network_of(1, 4, shortcut="B", stem_bias=True), "gamma": network_of(2, 0)}


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, networks):
    """A folder of three models: half precision with a head, a checkpoint with other names, one without a head."""
    folder = tmp_path_factory.mktemp("zoo")
    write_local_dir(folder / "alpha", networks["alpha"], 5, card={"pretraining": "Digits", "paradigm": "supervised classification"})
    write_checkpoint(folder / "nested" / "checkpoints", "beta", networks["beta"], 4, {"shortcut": "B", "stem_bias": True})
    write_local_dir(folder / "gamma", networks["gamma"], 0, card={"paradigm": "self-supervised"})
    return folder
