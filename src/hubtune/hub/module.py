"""Any network: one's own, or torchvision's."""

import copy
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hubtune.errors import ConfigurationError, ModelError, unknown_name
from hubtune.hub.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, Preprocessing
from hubtune.hub.card import ModelCard
from hubtune.hub.hub import Entry


@final
class ModuleBackbone(Backbone):
    """A network known only by the names of its layers.

    Args:
        network: from float (B, 3, s, s) to anything; where ``embedding`` is None, to features.
        embedding: name of the layer whose output is the embedding; None for the network's own output. Maps and tokens are averaged.
        map_layers: names of the layers whose outputs are the maps; tokens (B, N, C) become squares, a class token is left out.
        channels_last: whether its maps are (B, H, W, C).
        identity: how to build it again, as JSON; None where that is not known.
        behaviour: hash of what it makes of a fixed image, part of the fingerprint of a network whose code is not known.
    """

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        preprocessing: Preprocessing,
        feature_dim: int,
        upstream_head: nn.Module | None = None,
        *,
        embedding: str | None = None,
        map_layers: Sequence[str] = (),
        channels_last: bool = False,
        identity: Mapping[str, Any] | None = None,
        behaviour: str | None = None,
    ):
        super().__init__(network, card, preprocessing, feature_dim, upstream_head)
        self._embedding = embedding
        self._map_layers = tuple(map_layers)
        self._channels_last = channels_last
        self._known_as = dict(identity) if identity else None
        self._behaviour = behaviour

    @classmethod
    def rebuild(cls, spec: Mapping[str, Any], card: ModelCard, preprocessing: Preprocessing) -> Backbone:
        """See ``Backbone.from_spec``; torchvision's networks can be built again."""
        from hubtune.hub.torchvision import backbone_named

        return backbone_named(spec["architecture"], card, preprocessing)

    def spec(self) -> dict[str, Any]:
        if self._known_as is None:
            raise ModelError(
                f"{self.card.name} is a network of your own ({self.card.architecture}); it cannot be built again from a description, so "
                "no run with it can be saved. Register its function with timm (timm.models.register_model), put a JSON with "
                '"file" and "architecture" beside its weights, and open that folder as a hub'
            )
        return super().spec()

    def _identity(self) -> dict[str, Any]:
        if self._known_as is not None:
            return self._known_as
        layers = [self._embedding, *self._map_layers]
        return {"kind": "module", "architecture": self.card.architecture, "layers": layers, "behaviour": self._behaviour}

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return self._map_layers

    def embed(self, x: Float[Tensor, "B c s s"]) -> Float[Tensor, "B D"]:
        """The named layer's output or the network's own, averaged over positions."""
        if self._embedding is None:
            return _as_vectors(self.network(x), self.card.name)
        return _as_vectors(outputs_of(self.network, x, (self._embedding,))[self._embedding], self.card.name)

    def maps(self, x: Float[Tensor, "B c s s"]) -> list[Float[Tensor, "B C H W"]]:
        """Outputs of the named layers.

        Raises:
            ModelError: no layers were named.
        """
        if not self._map_layers:
            raise ModelError(f"no layers of {self.card.name} are known as maps; name some: hub.add(module, card, maps=('layer1', ...))")
        outputs = outputs_of(self.network, x, self._map_layers)
        return [_as_map(outputs[name], name, self._channels_last) for name in self._map_layers]


def outputs_of(network: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What the named layers return while the network runs; of a layer that runs several times the last.

    Raises:
        ModelError: a layer that did not run.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        outputs[name] = output

    handles = [network.get_submodule(name).register_forward_hook(functools.partial(keep, name)) for name in names]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        if not isinstance(outputs.get(name), Tensor):
            raise ModelError(f"the layer {name!r} returned {type(outputs.get(name)).__name__}, expected a tensor; name another layer")
    return outputs


def _as_vectors(output: Any, name: str) -> Tensor:
    if isinstance(output, Tensor) and 2 <= output.ndim <= 4:
        return output if output.ndim == 2 else output.mean(1) if output.ndim == 3 else output.mean((2, 3))
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ModelError(f"{name} returned {shape}; expected (B, D), (B, N, D) or (B, D, H, W): name a layer with embedding=")


def _as_map(output: Tensor, name: str, channels_last: bool) -> Tensor:
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        tokens = output.shape[1]
        for extra in (0, 1):
            side = math.isqrt(tokens - extra)
            if side * side == tokens - extra:
                return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise ModelError(
        f"the layer {name!r} returned {tuple(output.shape)}, expected (B, C, H, W) or (B, H * W, C) tokens; name another layer"
    )


def module_entry(
    module: nn.Module,
    card: ModelCard | Mapping[str, Any],
    *,
    embedding: str | None = None,
    head: str | None = None,
    maps: Sequence[str] = (),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    interpolation: str = "bilinear",
) -> Entry:
    """An entry for a network of one's own; what the card does not say is counted on one image of noise.

    Args:
        module: any network from float (B, 3, s, s); it is copied.
        card: a card, or a dictionary with at least ``name`` and ``input_size``.
        embedding: name of the layer whose output is the embedding; None for the network's output.
        head: name of the upstream classifier, which takes the embedding; it is put beside the network and replaced by an identity.
        maps: names of the layers whose outputs are the maps.
        mean: of red, green and blue, on the scale 0 to 1.
        std: of red, green and blue, on the scale 0 to 1.
        interpolation: "bilinear" or "bicubic".

    Raises:
        UnknownNameError: a layer that the network does not have.
        ConfigurationError: a card without name or input size, or impossible values.
        ModelError: the network cannot take such an image.
    """
    facts = card.to_dict() if isinstance(card, ModelCard) else dict(card)
    if not {"name", "input_size"} <= set(facts):
        raise ConfigurationError(f"the card was given as {facts!r}; expected at least name and input_size")
    preprocessing = Preprocessing(input_size=facts["input_size"], mean=_three(mean), std=_three(std), interpolation=interpolation)
    layers = dict(module.named_modules())
    for name in [*maps, *(name for name in (embedding, head) if name is not None)]:
        if name not in layers or name == "":
            raise unknown_name("layer", name, [known for known in layers if known])
    network = copy.deepcopy(module).cpu().float().eval()
    params = sum(p.numel() for p in network.parameters())
    upstream_head = None
    if head is not None:
        upstream_head = network.get_submodule(head)
        network.set_submodule(head, nn.Identity())
    options = {"embedding": embedding, "map_layers": tuple(maps)}
    counted, behaviour = _count(network, upstream_head, preprocessing, facts["name"], options)
    found = {"source": "module", "architecture": type(module).__qualname__, "params": params, **counted}
    full = ModelCard.from_dict({**found, **{key: value for key, value in facts.items() if value is not None}, **_fixed(counted)})
    load = functools.partial(_load, network, upstream_head, asdict(preprocessing), {**options, "behaviour": behaviour})
    return Entry(full, load, local=True)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    return tuple(values)  # pyright: ignore[reportReturnType]


def _fixed(counted: dict[str, Any]) -> dict[str, Any]:
    """What a card cannot choose: the network decides."""
    return {key: counted[key] for key in ("feature_dim", "num_classes")}


@torch.no_grad()
def _count(
    network: nn.Module, head: nn.Module | None, preprocessing: Preprocessing, name: str, options: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """What a card says of a network, and a hash of what it makes of one image of noise, the same each time."""
    card = ModelCard(name=name, source="module", architecture="module", params=0, input_size=preprocessing.input_size)
    backbone = ModuleBackbone(network, card, preprocessing, 0, **options)
    size = (1, 3, preprocessing.input_size, preprocessing.input_size)
    image = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    # The counter's hooks look for gradient functions wherever gradients are required.
    required = [p for p in network.parameters() if p.requires_grad]
    for parameter in required:
        parameter.requires_grad_(False)
    try:
        with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
            torch.default_generator.manual_seed(0)  # for networks that draw numbers
            vector = backbone.embed(backbone.view(image))
            logits = head(vector) if head is not None else None
    except Exception as error:
        raise ModelError(f"{name} cannot take an image of {tuple(image.shape)} ({error}); correct input_size, embedding or head") from error
    finally:
        for parameter in required:
            parameter.requires_grad_(True)
    digest = hashlib.sha256()
    for output in (vector,) if logits is None else (vector, logits):
        digest.update(output.contiguous().view(torch.uint8).numpy().tobytes())
    num_classes = 0 if logits is None else logits.shape[1]
    return {"flops": counter.get_total_flops(), "feature_dim": vector.shape[1], "num_classes": num_classes}, digest.hexdigest()


def _load(
    network: nn.Module,
    head: nn.Module | None,
    preprocessing: dict[str, Any],
    options: dict[str, Any],
    card: ModelCard,
    input_size: int | None,
) -> Backbone:
    prepared = Preprocessing(**{**preprocessing, "input_size": input_size or card.input_size})
    if prepared.input_size != card.input_size:
        _count(network, head, prepared, card.name, options)
    assert card.feature_dim is not None
    return ModuleBackbone(copy.deepcopy(network), card, prepared, card.feature_dim, copy.deepcopy(head), **options)
