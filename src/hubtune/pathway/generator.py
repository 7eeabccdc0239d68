"""G: from an image to the weight of each model of the hub."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from hubtune.errors import ConfigurationError
from hubtune.hub.backbone import Preprocessing
from hubtune.pathway.batch_norm import batch_norms, frozen

WIDTH = 64
"""Channels of the first stage in the paper's 9-layer ResNet."""


def resnet9(width: int = WIDTH) -> nn.Sequential:
    """The 9-layer ResNet without its classifier: (B, 3, s, s) -> (B, 8 width).

    A 7 x 7 stem of stride 2, max-pooling of stride 2, four stages of one basic block each with 1, 2, 4 and 8 times ``width`` channels,
    mean-pooling. With ``width = 64`` it is torchvision's ``ResNet(BasicBlock, [1, 1, 1, 1])``.

    Source: Shu et al. (2022), section 4.1 ("a 9-layer ResNet"); He et al. (2016).
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        BasicBlock(width, width),
    ]
    for channels in (width, 2 * width, 4 * width):
        shortcut = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, stride=2, bias=False), nn.BatchNorm2d(2 * channels))
        layers.append(BasicBlock(channels, 2 * channels, stride=2, downsample=shortcut))
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk


def shallow(channels: int, size: int, width: int) -> nn.Sequential:
    """Two convolutions 5 x 5 of stride 5 with ReLU: (B, channels, s, s) -> (B, 2 width cells), for models that are no larger themselves.

    Source: ours; the paper describes no generator for its smallest models.
    """
    side = size
    for _ in range(2):
        side = (side - 5) // 5 + 1
    if side < 1:
        raise ConfigurationError(f"a shallow generator was asked to see {size} x {size} pixels; expected at least 25 x 25")
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=5), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=5), nn.ReLU(), nn.Flatten()
    )


class PathwayGenerator(nn.Module):
    """G(x) = softmax(G_p(x) + eps * softplus(G_n(x))), one weight for each of m models, rows summing to one.

    eps ~ N(0, 1), drawn for each image and model, in training only; in evaluation G is a function of the image. G_p and G_n are linear
    layers on one shared trunk, both zero at first: the weights then are equal (or, after ``prefer``, as preferred) but for noise of
    deviation log 2. Heads and softmax are computed in float32 whatever the precision around them.

    Source: Shu et al. (2022), Equation 3.
    Differs from the paper: the trunk may see a smaller image than the models, and may be narrower, or shallow.
    """

    def __init__(self, models: int, size: int, width: int = WIDTH, *, kind: Literal["resnet9", "shallow"] = "resnet9", channels: int = 3):
        """
        Args:
            models: m.
            size: side in pixels of the image that the trunk sees.
            width: channels of its first stage.
            kind: of the trunk.
            channels: of the image; a 9-layer ResNet takes 3.
        """
        super().__init__()
        self.kind, self.size, self.width, self.channels = kind, size, width, channels
        self.trunk = resnet9(width) if kind == "resnet9" else shallow(channels, size, width)
        with torch.no_grad():
            features = 8 * width if kind == "resnet9" else self.trunk(torch.zeros(1, channels, size, size)).shape[1]
        self.preferred = nn.Linear(features, models)
        self.noise = nn.Linear(features, models)
        for head in (self.preferred, self.noise):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.blocked: Bool[Tensor, " m"]
        self.register_buffer("blocked", torch.zeros(models, dtype=torch.bool))
        scale = {} if channels == 3 else {"mean": (0.0,) * channels, "std": (1.0,) * channels}
        self._view = Preprocessing(input_size=size, interpolation="bilinear", **scale)

    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Float[Tensor, "B m"]:
        """Weights of all models; exact zeros for those in ``blocked``."""
        features = self._features(canvas)
        with torch.autocast(canvas.device.type, enabled=False):
            scores = self.preferred(features.float())
            if self.training:
                scores = scores + torch.randn_like(scores) * F.softplus(self.noise(features.float()))
            return scores.masked_fill(self.blocked, -torch.inf).softmax(1)

    @torch.no_grad()
    def prefer(self, scores: Float[Tensor, " m"]) -> None:
        """Start from softmax(scores) for every image, before the trunk has learnt anything, rather than from equal weights."""
        self.preferred.bias.copy_(scores)

    def _features(self, canvas: Tensor) -> Tensor:
        # One image has no batch statistics once the map is one pixel.
        with frozen(batch_norms(self.trunk) if len(canvas) == 1 else []):
            return self.trunk(self._view(canvas))

    def spec(self) -> dict[str, Any]:
        spec = {"kind": self.kind, "models": len(self.blocked), "size": self.size, "width": self.width}
        return spec if self.channels == 3 else spec | {"channels": self.channels}


class RandomPathway(nn.Module):
    """The control: equal weights of all models, but for a jitter that decides at random which ones are largest.

    In training the jitter is drawn anew each time; in evaluation it is a hash of the image's pixels, so that an image always takes the
    same path, alone or among others.

    Source: Shu et al. (2022), section 4.4, "Hub-Pathway w/ random path".
    Differs from the paper: it leaves the weights on a random path open; here they are 1/m each, within a thousandth.
    """

    kind = "random"

    def __init__(self, models: int):
        super().__init__()
        self.blocked: Bool[Tensor, " m"]
        self.register_buffer("blocked", torch.zeros(models, dtype=torch.bool))

    def forward(self, canvas: UInt8[Tensor, "B c H W"]) -> Float[Tensor, "B m"]:
        """Weights of all models; exact zeros for those in ``blocked``."""
        models = len(self.blocked)
        scores = torch.rand(len(canvas), models, device=canvas.device) if self.training else hashed(canvas, models)
        return (1e-3 * scores).masked_fill(self.blocked, -torch.inf).softmax(1)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "models": len(self.blocked)}


def hashed(canvas: UInt8[Tensor, "B c H W"], count: int) -> Float[Tensor, "B {count}"]:
    """``count`` numbers in [0, 1) for each image, decided by its pixels alone."""
    pixels = canvas.flatten(1).long()
    factors = torch.arange(1, pixels.shape[1] + 1, device=canvas.device) * 2654435761 % 2147483647
    key = (pixels * factors).sum(1, keepdim=True) + torch.arange(1, count + 1, device=canvas.device) * 40503
    for _ in range(3):
        key = ((key ^ (key >> 16)) * 73244475) & 0x7FFFFFFF
    return (key & 0xFFFFFF).float() / 2**24


def generator_from_spec(spec: dict[str, Any]) -> PathwayGenerator | RandomPathway:
    """The generator that ``spec`` described, with fresh weights."""
    if spec["kind"] == RandomPathway.kind:
        return RandomPathway(spec["models"])
    return PathwayGenerator(spec["models"], spec["size"], spec["width"], kind=spec["kind"], channels=spec.get("channels", 3))
