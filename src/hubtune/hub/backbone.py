"""A pre-trained network as every method sees it: from a canvas to an embedding, maps and upstream logits."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.errors import ConfigurationError, ModelError, unknown_name
from hubtune.hub.card import ModelCard

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a canvas of pixels to what a network was trained on."""

    input_size: int
    """Side of the square input in pixels."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each channel, such as red, green and blue, on the scale 0 to 1."""
    std: tuple[float, ...] = IMAGENET_STD
    """Of each channel, on the scale 0 to 1."""
    interpolation: str = "bicubic"
    """How an image is resized: "bilinear" or "bicubic"."""

    def __post_init__(self) -> None:
        mistakes = []
        if isinstance(self.input_size, bool) or not isinstance(self.input_size, int) or self.input_size < 1:
            mistakes.append(f"input_size = {self.input_size!r}: expected a number of pixels >= 1")
        for field in ("mean", "std"):
            values = getattr(self, field)
            if not values or len(self.mean) != len(self.std) or not all(isinstance(value, int | float) for value in values):
                mistakes.append(
                    f"{field} = {values!r}: expected a number for each channel (three for red, green and blue), as many means as deviations"
                )
            elif field == "std" and min(values) <= 0:
                mistakes.append(f"std = {values!r}: expected numbers > 0")
            object.__setattr__(self, field, tuple(values))
        if self.interpolation not in ("bilinear", "bicubic"):
            mistakes.append(f"interpolation = {self.interpolation!r}: expected 'bilinear' or 'bicubic'")
        if mistakes:
            raise ConfigurationError("the preprocessing cannot be right:\n  " + "\n  ".join(mistakes))

    @property
    def channels(self) -> int:
        """Of the images: 3 for colours."""
        return len(self.mean)

    def __call__(self, canvas: UInt8[Tensor, "B c H W"]) -> Float[Tensor, "B c s s"]:
        """(squash(canvas) / 255 - mean) / std, on the canvas's device; the squash is antialiased and keeps no aspect ratio."""
        side = self.input_size
        x = canvas.float()
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, size=(side, side), mode=self.interpolation, antialias=True, align_corners=False)
            x = x.clamp_(0, 255)  # bicubic weights overshoot beside edges
        x = x.div_(255)
        if not any(self.mean) and all(value == 1 for value in self.std):
            return x
        mean, std = (torch.tensor(values, device=x.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return x.sub_(mean).div_(std)


class Backbone(nn.Module, ABC):
    """A network without its upstream head. Abstract.

    The upstream head is kept beside the module, not in it: ``classify`` and ``logits`` use it, ``to`` moves it, but it is frozen
    and in neither ``parameters()`` nor ``state_dict()``. So a training never touches it, and a saved backbone fits
    ``Backbone.from_spec(backbone.spec())``, which has no upstream head.

    Args:
        network: the network without its head.
        card: the model's facts.
        preprocessing: what ``view`` does.
        feature_dim: length D of the embedding.
        upstream_head: from embeddings to the classes of the pre-training; None where there is none.
    """

    def __init__(
        self, network: nn.Module, card: ModelCard, preprocessing: Preprocessing, feature_dim: int, upstream_head: nn.Module | None = None
    ):
        super().__init__()
        self.network = network
        self.card = card
        self.preprocessing = preprocessing
        self.feature_dim = feature_dim
        self._heads: tuple[nn.Module, ...] = () if upstream_head is None else (upstream_head.eval().requires_grad_(False),)

    def _apply(self, fn, recurse: bool = True):
        for head in self._heads:
            head._apply(fn)
        return super()._apply(fn, recurse)

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocessing.input_size

    @property
    def upstream_head(self) -> nn.Module | None:
        """The frozen classifier of the pre-training, (B, D) -> (B, num_logits); None where there is none."""
        return self._heads[0] if self._heads else None

    @property
    def num_logits(self) -> int:
        """Classes of the upstream head; 0 where there is none."""
        return self.card.num_classes if self._heads else 0

    def view(self, canvas: UInt8[Tensor, "B c H W"]) -> Float[Tensor, "B c s s"]:
        """The canvas as this network wants it: squashed to its input size, antialiased, then its own mean and std.

        Every row depends on its own image alone. Nothing is resized where the sizes agree.

        Raises:
            ModelError: the canvas is not uint8 (B, c, H, W) with the network's number of channels.
        """
        channels = self.preprocessing.channels
        if canvas.dtype != torch.uint8 or canvas.ndim != 4 or canvas.shape[1] != channels:
            raise ModelError(
                f"{self.card.name} was given images as {canvas.dtype} {tuple(canvas.shape)}; expected torch.uint8 (B, {channels}, H, W): "
                "hand over pixels from 0 to 255, channels first"
            )
        return self.preprocessing(canvas)

    @abstractmethod
    def embed(self, x: Float[Tensor, "B c s s"]) -> Float[Tensor, "B D"]:
        """What the upstream head would see."""

    @abstractmethod
    def maps(self, x: Float[Tensor, "B c s s"]) -> list[Float[Tensor, "B C H W"]]:
        """Feature maps on the way, shallow to deep, one for each of ``map_names``."""

    @property
    @abstractmethod
    def map_names(self) -> tuple[str, ...]:
        """Names of the layers whose outputs ``maps`` returns."""

    @property
    def map_shapes(self) -> list[tuple[int, int, int]]:
        """Channels, height and width of each of ``maps``, found by running one empty image.

        Raises:
            ModelError: the model has no maps.
        """
        device = next(self.parameters(), torch.empty(0)).device
        canvas = torch.zeros(1, self.preprocessing.channels, self.input_size, self.input_size, dtype=torch.uint8, device=device)
        training = self.training
        self.eval()
        with torch.no_grad():
            shapes = [(x.shape[1], x.shape[2], x.shape[3]) for x in self.maps(self.view(canvas))]
        self.train(training)
        return shapes

    def classify(self, embedding: Float[Tensor, "B D"]) -> Float[Tensor, "B L"]:
        """Upstream logits from an embedding that is already there.

        Raises:
            ModelError: the model has no upstream head.
        """
        if not self._heads:
            raise ModelError(f"{self.card.name} has no upstream head, so it has no logits; choose a model with num_classes > 0")
        return self._heads[0](embedding)

    def logits(self, x: Float[Tensor, "B c s s"]) -> Float[Tensor, "B L"]:
        """Upstream logits: ``classify(embed(x))``."""
        return self.classify(self.embed(x))

    def forward(self, x: Float[Tensor, "B c s s"]) -> Float[Tensor, "B D"]:
        """The embedding."""
        return self.embed(x)

    @property
    def fingerprint(self) -> str:
        """sha256 of all that an output depends on: weights (the upstream head's too), architecture, preprocessing, input size.

        Computed anew at each call, since training changes the weights.
        """
        digest = hashlib.sha256(json.dumps([self._identity(), asdict(self.preprocessing)], sort_keys=True).encode())
        for part in (self.network, *self._heads):
            for name, tensor in part.state_dict().items():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def spec(self) -> dict[str, Any]:
        """How to rebuild the network with other weights, as JSON; ``Backbone.from_spec`` takes it back.

        Raises:
            ModelError: the network cannot be rebuilt from a description.
        """
        card = {**self.card.to_dict(), "input_size": self.input_size, "feature_dim": self.feature_dim}
        return {**self._identity(), "num_classes": 0, "preprocessing": asdict(self.preprocessing), "card": card}

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """The kind of backbone and its architecture, as JSON."""

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> "Backbone":
        """The same architecture with random weights (from torch's global generator), without an upstream head, without network.

        Raises:
            ModelError: the description names no architecture known here.
        """
        from hubtune.hub.module import ModuleBackbone
        from hubtune.hub.timm_backbone import TimmBackbone

        kinds = {"timm": TimmBackbone.rebuild, "torchvision": ModuleBackbone.rebuild}
        try:
            if spec["kind"] not in kinds:
                raise unknown_name("kind of backbone", str(spec["kind"]), kinds)
            card = ModelCard.from_dict({**spec["card"], "num_classes": 0})
            described = spec["preprocessing"]
            preprocessing = Preprocessing(**{**described, "mean": tuple(described["mean"]), "std": tuple(described["std"])})
            return kinds[spec["kind"]](spec, card, preprocessing)
        except (KeyError, TypeError) as error:
            raise ModelError(f"a backbone was described by {spec!r}: {error!r}; expected what Backbone.spec() returns") from error
