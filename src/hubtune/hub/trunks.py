"""ResNet-50 trunks of published checkpoints, loaded into timm's ResNet-50, so that they share one architecture."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hubtune.hub.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.download import file_from_url
from hubtune.hub.hub import Entry
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.hub.weights import load_exactly, read_weights

_TORCHVISION = {"license": "bsd-3-clause", "provenance": "torchvision"}


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """Where a ResNet-50 lies inside a checkpoint."""

    url: str
    prefix: str
    """Beginning of the trunk's names in the file; everything else is left out."""
    num_classes: int = 0
    """Of a classifier ``fc`` under the same prefix; 0 where there is none."""
    epsilon: float = 1e-5
    """Added to the variances when the checkpoint was trained and published."""
    facts: Mapping[str, Any]
    """Of the card."""


TRUNKS = {
    "resnet50_imagenet": Trunk(
        url="https://download.pytorch.org/models/resnet50-0676ba61.pth",
        prefix="",
        num_classes=1000,
        facts={
            "pretraining": "ImageNet-1k", "paradigm": "supervised classification", "upstream_accuracy": 0.7613,
            "upstream_dataset": "ImageNet-1k", "upstream_images": 1_281_167, **_TORCHVISION,
        },
    ),
    "resnet50_moco": Trunk(
        url="https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar",
        prefix="module.encoder_q.",
        facts={
            "pretraining": "ImageNet-1k", "paradigm": "self-supervised", "upstream_images": 1_281_167,
            "license": "cc-by-nc-4.0", "provenance": "facebookresearch/moco",
        },
    ),
    "maskrcnn_resnet50_fpn": Trunk(
        url="https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        prefix="backbone.body.",
        epsilon=0.0,
        facts={
            "pretraining": "ImageNet-1k, then COCO", "paradigm": "instance segmentation", "upstream_images": 1_281_167, **_TORCHVISION,
        },
    ),
    "deeplabv3_resnet50": Trunk(
        url="https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth",
        prefix="backbone.",
        facts={
            "pretraining": "ImageNet-1k, then COCO", "paradigm": "semantic segmentation", "upstream_images": 1_281_167, **_TORCHVISION,
        },
    ),
    "keypointrcnn_resnet50_fpn": Trunk(
        url="https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        prefix="backbone.body.",
        epsilon=0.0,
        facts={
            "pretraining": "ImageNet-1k, then COCO", "paradigm": "keypoint detection", "upstream_images": 1_281_167, **_TORCHVISION,
        },
    ),
}  # fmt: skip
"""Name of a checkpoint to where its trunk lies."""


def trunk_entry(name: str, source: str) -> Entry:
    """The entry of one of ``TRUNKS``. Its card needs no download."""
    trunk = TRUNKS[name]
    blueprint = _blueprint()
    size = blueprint.measure()
    params, flops = size.with_head(trunk.num_classes)
    card = ModelCard(
        name=name,
        source=source,
        architecture=blueprint.architecture,
        params=params,
        flops=flops,
        input_size=blueprint.input_size,
        feature_dim=size.feature_dim,
        num_classes=trunk.num_classes,
        **trunk.facts,
    )
    return Entry(card, functools.partial(_load, name))


def _blueprint() -> Blueprint:
    cfg = {"input_size": (3, 224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "interpolation": "bilinear", "crop_pct": 0.875}
    return Blueprint(architecture="resnet50", pretrained_cfg=cfg)


def _load(name: str, card: ModelCard, input_size: int | None) -> Backbone:
    trunk, blueprint = TRUNKS[name], _blueprint()
    weights = trunk_weights(read_weights(file_from_url(trunk.url, card.name)), trunk)
    network = blueprint.build(trunk.num_classes)
    load_exactly(network, weights)
    return TimmBackbone.from_network(network, blueprint, card, input_size)


def trunk_weights(weights: Mapping[str, Tensor], trunk: Trunk) -> dict[str, Tensor]:
    """The trunk's weights under timm's names.

    A dilated trunk (DeepLabV3) is used with strides, as every ResNet-50 of the hub is. Where a detector was trained with another
    epsilon than BatchNorm's 1e-5, the difference goes into the variances, which leaves the function as it was.
    """
    own = {name[len(trunk.prefix) :]: tensor for name, tensor in weights.items() if name.startswith(trunk.prefix)}
    own = {name: tensor for name, tensor in own.items() if trunk.num_classes or not name.startswith("fc.")}
    return {name: tensor + (trunk.epsilon - 1e-5) if name.endswith("running_var") else tensor for name, tensor in own.items()}
