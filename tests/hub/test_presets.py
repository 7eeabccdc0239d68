"""The hubs of the paper, and the trunks inside published checkpoints: the mapping, on random weights."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops.misc import FrozenBatchNorm2d

from hubtune.errors import UnknownNameError
from hubtune.hub import Hub, trunks
from hubtune.hub.backbone import IMAGENET_MEAN, IMAGENET_STD
from hubtune.hub.timm_backbone import Blueprint

# One block a stage instead of 3, 4, 6, 3: the names and the mapping are the same.
SHORT = Blueprint(
    architecture="resnet50",
    model_args={"layers": [1, 1, 1, 1]},
    pretrained_cfg={"input_size": (3, 224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "interpolation": "bilinear"},
)


def frozen(channels: int) -> FrozenBatchNorm2d:
    return FrozenBatchNorm2d(channels, eps=0.0)


def trunk_of(norm_layer) -> nn.Module:
    torch.manual_seed(0)
    network = ResNet(Bottleneck, [1, 1, 1, 1], norm_layer=norm_layer).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(1e-4, 2)  # small enough for an epsilon to matter
        elif name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    return network


@pytest.fixture
def load(tmp_path, monkeypatch):
    def loaded(name: str, content: dict):
        torch.save(content, tmp_path / "checkpoint.pth")
        monkeypatch.setattr(trunks, "_blueprint", lambda: SHORT)
        monkeypatch.setattr(trunks, "file_from_url", lambda url, wanted: tmp_path / "checkpoint.pth")
        return Hub.open("paper:homogeneous").load(name, input_size=64)

    return loaded


def embedding_of(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    network.fc = nn.Identity()
    return network(x)


CASES = {
    "resnet50_imagenet": (nn.BatchNorm2d, "", {}, None),
    "resnet50_moco": (
        nn.BatchNorm2d,
        "module.encoder_q.",
        {"module.encoder_k.conv1.weight": 1, "module.queue": 1, "module.encoder_q.fc.2.weight": 1},
        "state_dict",
    ),
    "maskrcnn_resnet50_fpn": (frozen, "backbone.body.", {"backbone.fpn.inner_blocks.0.0.weight": 1, "rpn.head.conv.0.0.weight": 1}, None),
    "keypointrcnn_resnet50_fpn": (frozen, "backbone.body.", {"roi_heads.box_head.fc6.weight": 1}, None),
    "deeplabv3_resnet50": (nn.BatchNorm2d, "backbone.", {"classifier.4.bias": 1, "aux_classifier.4.bias": 1}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_trunk_computes_what_it_did_in_its_checkpoint(load, name):
    norm_layer, prefix, others, key = CASES[name]
    network = trunk_of(norm_layer)
    state = {prefix + k: v for k, v in network.state_dict().items() if name == "resnet50_imagenet" or not k.startswith("fc.")}
    state |= {k: torch.ones(v) for k, v in others.items()}
    backbone = load(name, state if key is None else {"epoch": 200, "arch": "resnet50", key: state})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        if name == "resnet50_imagenet":
            torch.testing.assert_close(backbone.logits(x), network(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(backbone.embed(x), embedding_of(network, x), rtol=1e-4, atol=1e-4)
    assert backbone.num_logits == (1000 if name == "resnet50_imagenet" else 0)


def test_the_homogeneous_hub_is_five_resnet50():
    hub = Hub.open("paper:homogeneous")
    assert len(hub) == 5
    assert {card.architecture for card in hub} == {"resnet50"}
    assert len({(card.pretraining, card.paradigm) for card in hub}) == 5
    assert {card.params for card in hub} == {25_557_032, 23_508_032}
    assert hub.where("paradigm = 'self-supervised'").names == ("resnet50_moco",)


def test_the_heterogeneous_hub_is_five_architectures():
    hub = Hub.open("paper:heterogeneous")
    assert [card.architecture for card in hub] == ["resnet50", "mobilenet_v3_large", "efficientnet_b3", "swin_t", "convnext_tiny"]


def test_another_paper_is_unknown():
    with pytest.raises(UnknownNameError, match="did you mean 'homogeneous'"):
        Hub.open("paper:homogenous")
