"""The pre-trained networks of timm."""

import re
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg

from hubtune.errors import HubTuneError, ModelError, unknown_name
from hubtune.hub.backbone import Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.download import cached_huggingface, cached_url, file_from_url, require_huggingface
from hubtune.hub.hub import Entry, Hub
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.hub.timm_sizes import size_of

# The piece of a tag that names data: (name of the data, distinct images).
_DATA = {
    "in1k": ("ImageNet-1k", 1_281_167),
    "in12k": ("ImageNet-12k", 12_000_000),
    "in21k": ("ImageNet-21k", 14_197_122),
    "in22k": ("ImageNet-21k", 14_197_122),
    "inw21k": ("ImageNet-21k (winter 2021)", 13_000_000),
    "jft": ("JFT-300M", 300_000_000),
    "ig1b": ("Instagram", 940_000_000),
    "yfcc100m": ("YFCC-100M", 100_000_000),
    "yfcc15m": ("YFCC-15M", 15_000_000),
    "cc12m": ("CC-12M", 12_000_000),
    "openai": ("WIT-400M", 400_000_000),
    "laion400m": ("LAION-400M", 400_000_000),
    "laion2b": ("LAION-2B", 2_000_000_000),
    "laiona": ("LAION-Aesthetics", 900_000_000),
    "datacompxl": ("DataComp-1B", 1_400_000_000),
    "datacomp1b": ("DataComp-1B", 1_400_000_000),
    "dfndr2b": ("DFNDR-2B", 2_000_000_000),
    "dfn2b": ("DFN-2B", 2_000_000_000),
    "dfn5b": ("DFN-5B", 5_000_000_000),
    "400m": ("MetaCLIP-400M", 400_000_000),
    "2pt5b": ("MetaCLIP-2.5B", 2_500_000_000),
    "webli": ("WebLI", 10_000_000_000),
    "merged2b": ("Merged-2B", 2_000_000_000),
    "lvd142m": ("LVD-142M", 142_000_000),
    "lvd1689m": ("LVD-1689M", 1_689_000_000),
    "sat493m": ("SAT-493M", 493_000_000),
    "sa1b": ("SA-1B", 11_000_000),
    "bamboo": ("Bamboo", 69_000_000),
    "seer": ("Instagram", 1_000_000_000),
    "swag": ("Instagram", 3_600_000_000),
}
_IMAGE_TEXT = {"clip", "openai", "metaclip", "metaclip2", "mclip", "mclip2", "tinyclip", "webli", "yfcc15m", "cc12m"}
_IMAGE_TEXT |= {"laion400m", "laion2b", "laiona", "datacompxl", "datacomp1b", "dfn2b", "dfn5b", "merged2b"}
_ON_IMAGENET = {"dino", "mae", "fcmae"}  # where the tag names no data
_SELF_SUPERVISED = {*_ON_IMAGENET, "dinov3", "ijepa", "mim", "ssl", "seer", "lvd142m", "lvd1689m", "sat493m", "pt"}
# Classes of the upstream head to what they are the classes of.
_UPSTREAM = {1000: "ImageNet-1k", 11821: "ImageNet-12k", 11221: "ImageNet-21k", 19168: "ImageNet-21k"}
_UPSTREAM |= {**dict.fromkeys((21841, 21842, 21843), "ImageNet-21k"), 115217: "Bamboo"}


def open_timm(pattern: str = "") -> Hub:
    """Cards of timm's pre-trained networks, from its own tables; weights are downloaded when one is loaded.

    timm publishes no accuracies with its package, so ``upstream_accuracy`` is None.

    Args:
        pattern: wildcards over names with tags, such as "resnet*.a1_in1k"; "" for all.

    Raises:
        UnknownNameError: nothing matches.
    """
    names = timm.list_pretrained(pattern) if pattern else timm.list_pretrained()
    if not names:
        raise unknown_name("pre-trained timm model or pattern", pattern, timm.list_pretrained())
    entries, failures = [], {}
    for name in names:
        try:
            entries.append(Entry(_card(name), _load))
        except Exception as error:
            failures[name] = error if isinstance(error, HubTuneError) else f"{type(error).__name__}: {error}"
    if not entries:
        raise ModelError(f"no model of timm:{pattern} can be used: " + "; ".join(f"{name}: {cause}" for name, cause in failures.items()))
    left_out = f"{len(failures)} of {len(names)} networks of timm are left out, as they embed no square images: {', '.join(failures)}"
    return Hub(entries, [left_out] if failures else [])


def _cfg(name: str) -> PretrainedCfg:
    cfg = get_pretrained_cfg(name, allow_unregistered=False)
    assert cfg is not None
    return cfg


def _blueprint(cfg: PretrainedCfg) -> Blueprint:
    return Blueprint(architecture=str(cfg.architecture), pretrained_cfg=cfg.to_dict(remove_source=True))


def _card(name: str) -> ModelCard:
    cfg = _cfg(name)
    channels, height, width = cfg.input_size
    if channels != 3 or height != width:
        raise ModelError(f"it takes inputs of {(channels, height, width)}; only square images of 3 channels are supported")
    size = size_of(str(cfg.architecture), width) or _blueprint(cfg).measure()
    # What other networks end in, such as CLIP's projection, is no classifier.
    num_classes = cfg.num_classes if size.has_head and cfg.num_classes in _UPSTREAM else 0
    params, flops = size.with_head(num_classes)
    return ModelCard(
        name=name,
        source=f"timm:{name}",
        architecture=str(cfg.architecture),
        params=params,
        flops=flops,
        input_size=width,
        feature_dim=size.feature_dim,
        num_classes=num_classes,
        license=cfg.license,
        provenance=cfg.origin_url or "timm",
        **pretraining_facts(cfg.tag or "", cfg.num_classes),
    )


def pretraining_facts(tag: str, num_classes: int) -> dict[str, Any]:
    """What a tag of timm's says of the pre-training, such as "in21k_ft_in1k": on ImageNet-21k, then on ImageNet-1k.

    Returns:
        The card's pretraining, paradigm, upstream_dataset, upstream_images.
    """
    pieces = re.split(r"[_.]", tag)
    stages = list(dict.fromkeys(_DATA[piece] for piece in pieces if piece in _DATA))
    # Fine-tuning on ImageNet-1k comes last whatever the order in the tag.
    stages.sort(key=lambda stage: stage[0] == "ImageNet-1k")
    if not stages and _ON_IMAGENET & set(pieces):
        stages = [_DATA["in1k"]]
    supervised = num_classes in _UPSTREAM
    first = None
    if _IMAGE_TEXT & set(pieces):
        first = "image-text contrastive"
    elif _SELF_SUPERVISED & set(pieces):
        first = "self-supervised"
    elif "sa1b" in pieces:
        first = "promptable segmentation"
    labelled = supervised or any(name.startswith("ImageNet") for name, _ in stages)
    paradigm = first or ("supervised classification" if labelled else "unknown")
    if first and supervised:
        paradigm = f"{first}, then supervised classification"
    return {
        "pretraining": ", then ".join(name for name, _ in stages) or "unknown",
        "paradigm": paradigm,
        "upstream_dataset": _UPSTREAM.get(num_classes),
        "upstream_images": max((images for _, images in stages), default=None),
    }


def _load(card: ModelCard, input_size: int | None) -> Backbone:
    name = card.source.removeprefix("timm:")
    cfg = _cfg(name)
    options: dict[str, Any] = {}
    path = _weight_file(cfg, card.name)
    if path:
        options = {"pretrained_cfg_overlay": {"file": str(path), "custom_load": cfg.custom_load}}
    network = timm.create_model(name, pretrained=True, **options)
    return TimmBackbone.from_network(network, _blueprint(cfg), card, input_size)


def _weight_file(cfg: PretrainedCfg, wanted: str) -> Path | None:
    """The weights in a cache, or fetched from a plain address; None where timm is to fetch them from Hugging Face."""
    url = cfg.url if isinstance(cfg.url, str) and cfg.url else None
    if cfg.hf_hub_id:
        names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
        path = cached_huggingface(cfg.hf_hub_id, names)
        if path is None and url and cached_url(url).exists():
            path = cached_url(url)
        if path is None:
            require_huggingface(wanted)
        return path
    return file_from_url(url, wanted) if url else None
