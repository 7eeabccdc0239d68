"""Writing a network so that plain timm reads it: a ``local-dir:`` folder with its class names and preprocessing."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import save_for_hf
from torch import nn

from hubtune.errors import ConfigurationError, ModelError
from hubtune.hub.backbone import Backbone
from hubtune.hub.timm_backbone import TimmBackbone, TimmNetwork


def export_timm(
    backbone: Backbone, head: nn.Linear, folder: str | Path, class_names: Sequence[str], card: Mapping[str, Any] | None = None
) -> Path:
    """Write backbone and head as one network: ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads it.

    Its outputs are those of ``head(backbone.embed(backbone.view(canvas)))`` where timm's own transform squashes to the input size.
    Networks of ``hubtune.nets`` need ``import hubtune.nets`` first.

    Args:
        backbone: a network of timm; what it is trained to now is written.
        head: (D) -> (C).
        folder: made where it does not exist; config.json and model.safetensors in it are replaced.
        class_names: C names; timm keeps them as ``pretrained_cfg["label_names"]``.
        card: facts for the card of a hub that opens the folder, such as ``pretraining``.

    Raises:
        ModelError: the architecture cannot hold a linear head.
        ConfigurationError: head and names do not fit.
    """
    if not isinstance(backbone, TimmBackbone):
        raise ModelError(f"{backbone.card.name} is no network of timm, so timm cannot load it; keep the run's own folder instead")
    if head.in_features != backbone.feature_dim or head.out_features != len(class_names):
        raise ConfigurationError(
            f"a head {head.in_features} -> {head.out_features} and {len(class_names)} class names were given, "
            f"expected a head {backbone.feature_dim} -> {len(class_names)}: one output for each name"
        )
    network: TimmNetwork = copy.deepcopy(backbone.network).cpu().float().to(memory_format=torch.contiguous_format)
    with torch.random.fork_rng(devices=[]):
        network.reset_classifier(head.out_features)
    own = network.get_classifier()
    if isinstance(own, nn.Conv2d) and own.weight.shape[2:] == (1, 1):
        weight = head.weight[:, :, None, None]
    elif isinstance(own, nn.Linear):
        weight = head.weight
    else:
        raise ModelError(f"the classifier of {backbone.card.architecture} is a {type(own).__name__}, which cannot hold one linear head")
    with torch.no_grad():
        own.weight.copy_(weight)
        if own.bias is not None:
            own.bias.copy_(head.bias if head.bias is not None else torch.zeros(head.out_features))
        elif head.bias is not None:
            raise ModelError(f"the classifier of {backbone.card.architecture} has no bias; train a head without one")
    return save_network(network, folder, class_names, backbone, card)


def save_network(
    network: TimmNetwork, folder: str | Path, class_names: Sequence[str], backbone: TimmBackbone, card: Mapping[str, Any] | None = None
) -> Path:
    """Write a whole network of timm, classifier included, with the preprocessing of the backbone it came from."""
    folder = Path(folder)
    blueprint, preprocessing = backbone.blueprint, backbone.preprocessing
    side = preprocessing.input_size
    network.pretrained_cfg = {**blueprint.pretrained_cfg, "architecture": blueprint.architecture}
    save_for_hf(
        network,
        str(folder),
        model_config={
            "label_names": list(class_names),
            "pretrained_cfg": {
                "input_size": [3, side, side],
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
                "interpolation": preprocessing.interpolation,
                "crop_pct": 1.0,
                "crop_mode": "squash",
            },
            "card": dict(card or {}),
        },
        model_args=dict(blueprint.model_args),
        safe_serialization=True,
    )
    config = folder / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder
