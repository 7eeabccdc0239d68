"""Networks of timm, and those of ``hubtune.nets`` that are registered with it."""

import dataclasses
import functools
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import timm
import torch
from jaxtyping import Float
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import hubtune.nets  # noqa: F401  registers the networks that timm lacks
from hubtune.errors import ModelError, unknown_name
from hubtune.hub.backbone import IMAGENET_MEAN, Backbone, Preprocessing
from hubtune.hub.card import ModelCard

# A description may come from a downloaded file: it says what to build, never where to read.
_FORBIDDEN_ARGS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only", "num_classes"}
_KEPT_CFG = {f.name for f in dataclasses.fields(PretrainedCfg)} - {
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture", "tag", "custom_load", "test_input_size",
    "test_crop_pct", "test_pool_size", "pool_size", "label_offset", "label_names", "label_descriptions", "num_classes",
}  # fmt: skip
TimmNetwork = Any
"""An ``nn.Module`` with timm's methods: ``forward_features``, ``forward_head``, ``get_classifier``, ``reset_classifier``, ..."""

_INTERPOLATION = {"lanczos": "bicubic", "nearest": "bilinear"}


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """Which of timm's networks, without its weights and without its head."""

    architecture: str
    """timm's name, without a tag."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the network, JSON."""
    pretrained_cfg: Mapping[str, Any] = field(default_factory=dict)
    """timm's facts about the weights, JSON: input size, mean, std, ..."""

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str) or not is_model(self.architecture):
            raise unknown_name("architecture", str(self.architecture), timm.list_models())
        forbidden = sorted(_FORBIDDEN_ARGS & set(self.model_args))
        if forbidden:
            raise ModelError(
                f"model_args of {self.architecture} hold {', '.join(forbidden)}: expected arguments of the network; remove them"
            )
        registered = get_pretrained_cfg(self.architecture)
        structure = ("fixed_input_size", "first_conv", "classifier")
        cfg = {name: getattr(registered, name) for name in structure} if registered else {}
        cfg |= {name: value for name, value in self.pretrained_cfg.items() if name in _KEPT_CFG}
        args = dict(self.model_args)
        channels = len(cfg.get("mean") or IMAGENET_MEAN)
        if "img_size" in args:  # kept in one place, as the input size
            side = args.pop("img_size")
            cfg |= {"input_size": (channels, side, side) if isinstance(side, int) else (channels, *side), "fixed_input_size": True}
        object.__setattr__(self, "model_args", json.loads(json.dumps(args)))
        size = cfg.setdefault("input_size", (3, 224, 224))
        if not isinstance(size, list | tuple) or len(size) != 3 or size[0] != channels or size[1] != size[2]:
            raise ModelError(
                f"{self.architecture} has the input_size {size!r}; only square images are supported, of as many channels as there are "
                f"means: of {channels} channels, ({channels}, s, s)"
            )
        object.__setattr__(self, "pretrained_cfg", json.loads(json.dumps(cfg)))

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.pretrained_cfg["input_size"][1]

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of the head's modules."""
        names = self.pretrained_cfg.get("classifier") or ()
        return (names,) if isinstance(names, str) else tuple(names)

    @property
    def preprocessing(self) -> Preprocessing:
        """What timm would do to an image, but squashed and not cropped."""
        cfg = PretrainedCfg(**self.pretrained_cfg)
        return Preprocessing(
            input_size=self.input_size,
            mean=tuple(cfg.mean),
            std=tuple(cfg.std),
            interpolation=_INTERPOLATION.get(cfg.interpolation, cfg.interpolation),
        )

    def resized(self, input_size: int | None) -> "Blueprint":
        """The same network for another input size."""
        if input_size is None or input_size == self.input_size:
            return self
        cfg = {**self.pretrained_cfg, "input_size": [self.pretrained_cfg["input_size"][0], input_size, input_size]}
        return dataclasses.replace(self, pretrained_cfg=cfg)

    def build(self, num_classes: int = 0) -> TimmNetwork:
        """The network with random weights from torch's global generator, in evaluation mode."""
        network: TimmNetwork = timm.create_model(
            self.architecture, pretrained=False, pretrained_cfg=dict(self.pretrained_cfg), num_classes=num_classes, **self.arguments()
        )
        return network.eval()

    def arguments(self) -> dict[str, Any]:
        """What the network's function is called with, the input size included where the weights depend on it."""
        if self.pretrained_cfg.get("fixed_input_size"):
            return {**self.model_args, "img_size": self.input_size}
        return dict(self.model_args)

    def measure(self) -> "Size":
        """Counted on the meta device, without weights and without arithmetic; remembered.

        Raises:
            Exception: whatever the network raises when it cannot be built or cannot take its input size.
        """
        return _measure(json.dumps([self.architecture, self.model_args, self.pretrained_cfg], sort_keys=True))


class Size(NamedTuple):
    """Of a network without its head."""

    params: int
    flops: int
    feature_dim: int
    has_head: bool
    """Whether its classifier is a function of the embedding, as that of a distilled network with two heads is not."""

    def with_head(self, num_classes: int) -> tuple[int, int]:
        """(params, flops) with a linear head."""
        if num_classes == 0:
            return self.params, self.flops
        return self.params + (self.feature_dim + 1) * num_classes, self.flops + 2 * self.feature_dim * num_classes


@functools.lru_cache(maxsize=4096)
def _measure(blueprint: str) -> Size:
    architecture, model_args, pretrained_cfg = json.loads(blueprint)
    with torch.device("meta"):
        network = Blueprint(architecture=architecture, model_args=model_args, pretrained_cfg=pretrained_cfg).build(num_classes=2)
        head = _take_head(network)
        # The counter's hooks look for gradient functions wherever gradients are required.
        network.requires_grad_(False)
        x = torch.empty(1, *pretrained_cfg["input_size"])
        with FlopCounterMode(display=False) as counter:
            embedding = network.forward_head(network.forward_features(x), pre_logits=True)
    if embedding.ndim != 2:
        raise ModelError(f"{architecture} embeds one image as {tuple(embedding.shape)}; expected one vector")
    return Size(_count(network), counter.get_total_flops(), embedding.shape[1], head is not None and _accepts(head, embedding))


@final
class TimmBackbone(Backbone):
    """A network of timm without its classifier: ``embed`` is its pre-logits."""

    network: TimmNetwork

    def __init__(self, network: TimmNetwork, blueprint: Blueprint, card: ModelCard, upstream_head: nn.Module | None = None):
        feature_dim = card.feature_dim or blueprint.measure().feature_dim
        super().__init__(network, card, blueprint.preprocessing, feature_dim, upstream_head)
        self.blueprint = blueprint
        self._levels = _levels(network)

    @classmethod
    def from_network(cls, network: TimmNetwork, blueprint: Blueprint, card: ModelCard, input_size: int | None) -> "TimmBackbone":
        """Take a loaded network apart: its classifier goes beside it, the rest is resized where another input size is asked for.

        Raises:
            ModelError: the architecture cannot take that input size.
        """
        network, blueprint = resize(network, blueprint, input_size)
        head = _take_head(network.eval())
        backbone = cls(network, blueprint, card)
        if head is not None and card.num_classes and _accepts(head, torch.zeros(1, backbone.feature_dim)):
            backbone = cls(network, blueprint, card, head)
        return backbone

    @classmethod
    def rebuild(cls, spec: Mapping[str, Any], card: ModelCard, preprocessing: Preprocessing) -> "TimmBackbone":
        """See ``Backbone.from_spec``."""
        blueprint = Blueprint(architecture=spec["architecture"], model_args=spec["model_args"], pretrained_cfg=spec["pretrained_cfg"])
        return cls(blueprint.build(), blueprint, card)

    def _identity(self) -> dict[str, Any]:
        blueprint = self.blueprint
        return {
            "kind": "timm",
            "architecture": blueprint.architecture,
            "model_args": dict(blueprint.model_args),
            "pretrained_cfg": dict(blueprint.pretrained_cfg),
        }

    def embed(self, x: Float[Tensor, "B c s s"]) -> Float[Tensor, "B D"]:
        """Pooled features, (B, D): the input of the upstream classifier."""
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)

    def maps(self, x: Float[Tensor, "B c s s"]) -> list[Float[Tensor, "B C H W"]]:
        """The last map of each resolution; of a plain vision transformer the tokens after each quarter of its blocks.

        Raises:
            ModelError: timm offers no maps of this architecture.
        """
        if not self._levels:
            raise ModelError(f"timm offers no feature maps of {self.card.architecture}; choose another model for methods that match maps")
        return self.network.forward_intermediates(
            x, indices=[index for index, _ in self._levels], output_fmt="NCHW", intermediates_only=True
        )

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of timm's modules."""
        return tuple(name for _, name in self._levels)


def _levels(network: TimmNetwork) -> list[tuple[int, str]]:
    """(index for ``forward_intermediates``, module name) of each map."""
    info = getattr(network, "feature_info", None)
    if info is None or not hasattr(network, "forward_intermediates"):
        return []
    entries = [(level, str(entry["module"]), entry["reduction"]) for level, entry in enumerate(info)]
    if len(entries) > 4 and len({reduction for _, _, reduction in entries}) == 1:
        depth = len(entries)
        entries = [entries[depth * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
    return [(level, name) for level, name, _ in entries]


def _take_head(network: TimmNetwork) -> nn.Module | None:
    """Remove the classifier and return it; None where there is none, or where it is not all of what made the logits."""
    head = network.get_classifier() if network.num_classes else None
    before = _count(network)
    network.reset_classifier(0)
    if not isinstance(head, nn.Module) or isinstance(head, nn.Identity | nn.ModuleList | nn.ModuleDict):
        return None
    if before - _count(network) != _count(head):  # some networks add the logits of further heads
        return None
    if isinstance(head, nn.Conv2d):
        return nn.Sequential(nn.Unflatten(1, (head.in_channels, 1, 1)), head, nn.Flatten())
    return head


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _accepts(head: nn.Module, embedding: Tensor) -> bool:
    """Whether a classifier takes embeddings; some of timm's begin before the pooling."""
    try:
        with torch.no_grad():
            return head.eval()(embedding).ndim == 2
    except (RuntimeError, IndexError, TypeError, ValueError):
        return False


def resize(network: TimmNetwork, blueprint: Blueprint, input_size: int | None) -> tuple[TimmNetwork, Blueprint]:
    """The network with the same weights for another input size: as it is where it is convolutional, else with resampled positions.

    Raises:
        ModelError: the architecture cannot take that input size.
    """
    target = blueprint.resized(input_size)
    if target is blueprint:
        return network, blueprint
    if getattr(getattr(network, "patch_embed", None), "strict_img_size", False):
        blueprint = dataclasses.replace(blueprint, pretrained_cfg={**blueprint.pretrained_cfg, "fixed_input_size": True})
        target = blueprint.resized(input_size)
    side = target.input_size
    try:
        target.measure()
        if target.pretrained_cfg.get("fixed_input_size"):
            network = load_by_timm(blueprint, network.state_dict(), network.num_classes, side)
    except Exception as error:
        raise ModelError(
            f"{blueprint.architecture} cannot take images of {side} x {side} ({type(error).__name__}: {str(error)[:300]}); "
            f"it was made for {blueprint.input_size} x {blueprint.input_size}: leave input_size out"
        ) from error
    return network, target


def load_by_timm(blueprint: Blueprint, weights: Mapping[str, Tensor], num_classes: int, input_size: int | None = None) -> TimmNetwork:
    """A network with weights as timm's own loader reads them: older names brought up to date, positions resampled to the input size.

    Raises:
        RuntimeError: names or shapes do not fit.
    """
    target = blueprint.resized(input_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, on the way in which timm indexes its tables
        network: TimmNetwork = timm.create_model(
            blueprint.architecture,
            pretrained=True,
            pretrained_cfg={**blueprint.pretrained_cfg, "num_classes": num_classes},
            pretrained_cfg_overlay={"state_dict": dict(weights)},
            num_classes=num_classes,
            **target.arguments(),
        )
    del network.pretrained_cfg["state_dict"]
    return network.eval()
