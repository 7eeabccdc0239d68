"""The two sides of a transfer: frozen sources, and a target that starts from random weights."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from timm.models import get_pretrained_cfg
from torch import Tensor

from hubtune.errors import ConfigurationError, HubTuneError
from hubtune.hub import Backbone, ModelCard
from hubtune.hub.timm_backbone import Blueprint, TimmBackbone
from hubtune.tasks import Task
from hubtune.training.heads import linear_head
from hubtune.training.predictor import Single, freeze
from hubtune.training.runtime import Runtime, usable_device
from hubtune.training.seeds import derive
from hubtune.transfer.pairs import Layer

SourceMaps = Literal["raw", "unit"]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one network computes of a batch."""

    embedding: Float[Tensor, "B D"] | None = None
    """None where it was not asked for."""
    maps: list[Tensor] = field(default_factory=list)
    """(B, C_l, H_l, W_l), shallow to deep; empty where none were asked for."""
    logits: Float[Tensor, "B L"] | None = None
    """Of the upstream head; None where there is none."""


class Observer:
    """Maps and embedding of a backbone in one pass where its network can, else in two.

    Args:
        backbone: any; nothing of it is changed.
    """

    def __init__(self, backbone: Backbone):
        self.layers: tuple[Layer, ...] = ()
        self._indices: list[int] | None = None
        if not backbone.map_names:
            return
        parameter = next(backbone.parameters())
        side = backbone.input_size
        x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(parameter)
        was_training = backbone.training
        backbone.eval()
        with torch.no_grad():
            maps = backbone.maps(x)
            self.layers = tuple(
                Layer(name=name, channels=y.shape[1], height=y.shape[2], width=y.shape[3])
                for name, y in zip(backbone.map_names, maps, strict=True)
            )
            self._indices = _one_pass(backbone, x)
        backbone.train(was_training)

    def __call__(self, backbone: Backbone, x: Float[Tensor, "B 3 s s"], *, maps: bool = True, embedding: bool = True) -> Observation:
        """Observe the backbone that this observer was made for, or a copy of it."""
        if not maps:
            return Observation(embedding=backbone.embed(x))
        if not embedding:
            return Observation(maps=backbone.maps(x))
        if self._indices is None:
            return Observation(embedding=backbone.embed(x), maps=backbone.maps(x))
        return Observation(**_both(backbone, x, self._indices))


def _both(backbone: Backbone, x: Tensor, indices: list[int]) -> dict:
    network = backbone.network
    last, maps = network.forward_intermediates(x, indices=indices, output_fmt="NCHW")  # pyright: ignore[reportCallIssue]
    return {"embedding": network.forward_head(last, pre_logits=True), "maps": maps}  # pyright: ignore[reportCallIssue]


def _one_pass(backbone: Backbone, x: Tensor) -> list[int] | None:
    """timm's indices of the maps, if its pass for maps ends in the embedding; None if it does not."""
    if not isinstance(backbone, TimmBackbone):
        return None
    names = [str(entry["module"]) for entry in backbone.network.feature_info]  # pyright: ignore[reportGeneralTypeIssues]
    if len(set(names)) < len(names):
        return None
    indices = [names.index(name) for name in backbone.map_names]
    return indices if torch.allclose(_both(backbone, x, indices)["embedding"], backbone.embed(x), rtol=1e-4, atol=1e-5) else None


class Sources:
    """Frozen pre-trained models that see the canvas of the target's batch, each through its own view.

    Args:
        backbones: at least one; taken out of training.
        runtime: of the training.
        device: where the sources compute; None is the runtime's device.
        scale: "unit" divides each map of each image by its root mean square.
    """

    def __init__(self, backbones: Sequence[Backbone], runtime: Runtime, device: str | None = None, scale: SourceMaps = "raw"):
        self._device = runtime.device if device is None else usable_device(device, "source_device")
        self._backbones = [backbone.to(self._device, memory_format=torch.channels_last) for backbone in backbones]  # pyright: ignore[reportCallIssue]
        for backbone in self._backbones:
            freeze(backbone)
        self._runtime = runtime
        self._scaled = of_unit_square if scale == "unit" else lambda x: x
        self._observers = [Observer(backbone) for backbone in self._backbones]

    @property
    def backbones(self) -> list[Backbone]:
        return self._backbones

    @property
    def names(self) -> list[str]:
        return [backbone.card.name for backbone in self._backbones]

    @property
    def layers(self) -> list[tuple[str, tuple[Layer, ...]]]:
        """(model name, its maps) of each source."""
        return [(name, observer.layers) for name, observer in zip(self.names, self._observers, strict=True)]

    @property
    def num_logits(self) -> list[int]:
        """Classes of each source's upstream head; 0 where there is none."""
        return [backbone.num_logits for backbone in self._backbones]

    @torch.no_grad()
    def __call__(self, canvas: UInt8[Tensor, "B 3 H W"], *, maps: bool = True, logits: bool = False) -> list[Observation]:
        """Maps and logits of each source, on the canvas's device, in float32."""
        found = []
        for backbone, observer in zip(self._backbones, self._observers, strict=True):
            with self._runtime.autocast():
                wanted = logits and backbone.num_logits > 0
                seen = observer(backbone, backbone.view(canvas.to(self._device)), maps=maps, embedding=wanted)
                upstream = backbone.classify(seen.embedding) if wanted and seen.embedding is not None else None
            found.append(
                Observation(
                    maps=[self._scaled(x.to(canvas.device, torch.float32)) for x in seen.maps],
                    logits=None if upstream is None else upstream.to(canvas.device, torch.float32),
                )
            )
        return found

    def views(self, canvas: UInt8[Tensor, "B 3 H W"]) -> list[Tensor]:
        """What each source makes of the canvas before its first layer, (B, 3, s, s), where the sources compute."""
        return [backbone.view(canvas.to(self._device)) for backbone in self._backbones]

    def observe(self, views: Sequence[Tensor], device: torch.device) -> list[Observation]:
        """Maps of each source from its view, on a device, in float32; unlike a call, with derivatives by the views."""
        return [
            Observation(maps=[self._scaled(y.to(device, torch.float32)) for y in backbone.maps(x)])
            for backbone, x in zip(self._backbones, views, strict=True)
        ]


def of_unit_square(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The map of each image over its root mean square; a map of zeros stays one."""
    return x / x.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)


def registered(name: str) -> Blueprint:
    """An architecture of timm or of ``hubtune.nets`` with the input size and pixel statistics that it is registered with.

    Args:
        name: of the architecture; of ``my.module:name`` the module, which registers it with timm, is imported first.

    Raises:
        UnknownNameError: no such architecture.
        ConfigurationError: the module cannot be imported.
    """
    module, _, name = name.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"the module of target {module}:{name} cannot be imported ({error}); expected my.module:name, where importing my.module "
            "registers the function `name` with timm.models.register_model"
        ) from error
    blueprint = Blueprint(architecture=name)
    cfg = get_pretrained_cfg(name)
    return blueprint if cfg is None else Blueprint(architecture=name, pretrained_cfg=cfg.to_dict(remove_source=True))


def make_target(name: str, input_size: int | None, task: Task, seed: int) -> Single:
    """A network with random weights and a head for the task; the same weights that training from scratch starts with.

    Args:
        name: as ``registered`` takes it.
        input_size: side in pixels of its input; None is the architecture's own.

    Raises:
        HubTuneError: no such architecture, or one that cannot take that input size.
    """
    try:
        blueprint = registered(name).resized(input_size)
        size = blueprint.measure()
    except HubTuneError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"target {name!r} cannot take images of {input_size} x {input_size} ({type(error).__name__}: {error}); "
            "leave target_input_size out for the architecture's own"
        ) from error
    card = ModelCard(
        name=blueprint.architecture,
        source=f"timm:{blueprint.architecture}",
        architecture=blueprint.architecture,
        pretraining="none",
        paradigm="random weights",
        params=size.params,
        flops=size.flops,
        input_size=blueprint.input_size,
        feature_dim=size.feature_dim,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "scratch"))
        backbone = TimmBackbone(blueprint.build(), blueprint, card)
        return Single(backbone, linear_head(task, backbone, "transfer of maps"))
