"""torchvision's classifiers with their published weights, and the trunks of its detectors."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from hubtune.errors import ModelError, unknown_name
from hubtune.hub.backbone import Backbone, Preprocessing
from hubtune.hub.card import ModelCard
from hubtune.hub.download import file_from_url
from hubtune.hub.hub import Entry, Hub
from hubtune.hub.module import ModuleBackbone
from hubtune.hub.trunks import trunk_entry
from hubtune.hub.weights import load_exactly, read_weights

IMAGENET_IMAGES = 1_281_167
_TRUNKS = ("maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "deeplabv3_resnet50")
_DISTINCT_STAGES = ("features", "layers", "blocks", "trunk_output")
_LEGACY_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)$")


def open_torchvision(name: str = "") -> Hub:
    """All classifiers with torchvision's recommended weights and three ResNet-50 trunks, or the one named. Downloads nothing.

    Raises:
        UnknownNameError: no model of that name.
    """
    known = [*list_models(module=torchvision.models), *_TRUNKS]
    if name and name not in known:
        raise unknown_name("torchvision model", name, known)
    wanted = [name] if name else known
    return Hub([trunk_entry(each, f"torchvision:{each}") if each in _TRUNKS else _entry(each) for each in wanted])


def _entry(architecture: str) -> Entry:
    weights = _weights(architecture)
    meta = weights.meta
    accuracy = meta["_metrics"].get("ImageNet-1K", {}).get("acc@1")
    swag = "SWAG" in weights.name
    card = ModelCard(
        name=architecture,
        source=f"torchvision:{architecture}",
        architecture=architecture,
        pretraining="Instagram, then ImageNet-1k" if swag else "ImageNet-1k",
        paradigm="supervised classification",
        params=meta["num_params"],
        flops=round(2e9 * meta["_ops"]),
        input_size=weights.transforms().crop_size[0],
        num_classes=0 if architecture.startswith("squeezenet") else len(meta["categories"]),
        upstream_accuracy=None if accuracy is None else round(accuracy / 100, 6),
        upstream_dataset="ImageNet-1k",
        upstream_images=3_600_000_000 if swag else IMAGENET_IMAGES,
        license="cc-by-nc-4.0" if swag else "bsd-3-clause",
        provenance="torchvision",
    )
    return Entry(card, _load)


def _weights(architecture: str) -> Any:
    enumeration: Any = get_model_weights(architecture)
    return enumeration.DEFAULT


def _load(card: ModelCard, input_size: int | None) -> Backbone:
    weights = _weights(card.architecture)
    transforms = weights.transforms()
    preprocessing = Preprocessing(
        input_size=card.input_size, mean=tuple(transforms.mean), std=tuple(transforms.std), interpolation=transforms.interpolation.value
    )
    state = _modern(read_weights(file_from_url(weights.url, card.name)))
    network = _build(card.architecture, card.input_size)
    load_exactly(network, state)
    head = _take_head(network)
    return _backbone(network, head, card, preprocessing, input_size)


def backbone_named(architecture: str, card: ModelCard, preprocessing: Preprocessing) -> Backbone:
    """One of torchvision's classifiers with random weights, without a head.

    Raises:
        UnknownNameError: no classifier of that name.
    """
    if architecture not in list_models(module=torchvision.models):
        raise unknown_name("architecture of torchvision", architecture, list_models(module=torchvision.models))
    network = _build(architecture, preprocessing.input_size)
    _take_head(network)
    return _backbone(network, None, card, preprocessing, None)


def _build(architecture: str, input_size: int) -> nn.Module:
    options: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "transform_input": True, "init_weights": True}
    if architecture.startswith("vit_"):
        options = {"image_size": input_size}
    return get_model(architecture, weights=None, **options).eval()


def _modern(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as the networks have them today, without the auxiliary heads of training."""
    for name in list(state):
        legacy = _LEGACY_DENSENET.match(name)
        if legacy:
            state[legacy[1] + legacy[2]] = state.pop(name)
        elif name.startswith(("aux1.", "aux2.", "AuxLogits.")):
            del state[name]
    return state


def _take_head(network: nn.Module) -> nn.Module | None:
    """Put an identity in place of the last linear layer and return that; SqueezeNet's convolutional head is pooled away."""
    linear = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        network.classifier = nn.AdaptiveAvgPool2d(1)
        return None
    head = network.get_submodule(linear[-1])
    network.set_submodule(linear[-1], nn.Identity())
    return head


def _backbone(
    network: nn.Module, head: nn.Module | None, card: ModelCard, preprocessing: Preprocessing, input_size: int | None
) -> ModuleBackbone:
    preprocessing = dataclasses.replace(preprocessing, input_size=input_size or preprocessing.input_size)
    try:
        feature_dim, layers = _layout(card.architecture, card.input_size, preprocessing.input_size)
    except Exception as error:
        raise ModelError(
            f"torchvision's {card.architecture} cannot take images of {preprocessing.input_size} x {preprocessing.input_size} "
            f"({type(error).__name__}: {error}); it was made for {card.input_size} x {card.input_size}: leave input_size out, "
            "or take the same architecture from timm"
        ) from error
    return ModuleBackbone(
        network,
        card,
        preprocessing,
        feature_dim,
        head,
        map_layers=layers,
        channels_last=card.architecture.startswith("swin"),
        identity={"kind": "torchvision", "architecture": card.architecture},
    )


@functools.lru_cache(maxsize=256)
def _layout(architecture: str, built_for: int, input_size: int) -> tuple[int, tuple[str, ...]]:
    """Length of the embedding, and the layers that hold the last map of each resolution; found on the meta device."""
    with torch.device("meta"):
        network = _build(architecture, built_for)
        _take_head(network)
        x = torch.empty(1, 3, input_size, input_size)
        shapes: dict[str, Sequence[int]] = {}

        def keep(name: str, module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        candidates = [name for name, _ in network.named_children() if name not in _DISTINCT_STAGES]
        for parent in _DISTINCT_STAGES:
            if hasattr(network, parent):
                candidates += [f"{parent}.{name}" for name, _ in network.get_submodule(parent).named_children()]
        if architecture.startswith("vit_"):
            blocks = [f"encoder.layers.{name}" for name, _ in network.get_submodule("encoder.layers").named_children()]
            candidates = [blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
        if architecture.startswith("swin"):  # what follows its stages has the channels first
            candidates = [name for name in candidates if name.startswith("features.")]
        for name in candidates:
            network.get_submodule(name).register_forward_hook(functools.partial(keep, name))
        with torch.no_grad():
            feature_dim = network(x).shape[1]
    if architecture.startswith("vit_"):
        return feature_dim, tuple(candidates)
    last: dict[int, str] = {}
    for name, shape in shapes.items():  # in the order in which the layers ran
        if len(shape) == 4 and shape[2] > 1:
            last[shape[2]] = name
    return feature_dim, tuple(last.values())
