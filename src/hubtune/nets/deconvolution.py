"""A head that answers at every place: from a network's last map to maps of a given size."""

import math
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class DeconvolutionHead(nn.Module):
    """Maps (B, C, h, w) to maps (B, K, s, s): transposed convolutions that double the side, each with BatchNorm and ReLU, then 1 x 1.

    There are as many of them as bring the side to s, ceil(log2(s / h)); three from a map of 8 to one of 64. Where the doubled sides miss
    s, the result is resized bilinearly. The last layer starts near zero, N(0, 0.001): at first every place answers nothing.

    Source: Xiao, Wu and Wei (2018), Simple baselines for human pose estimation and tracking, section 2.
    """

    kind = "deconvolution"

    def __init__(self, map_shape: tuple[int, int, int], *, outputs: int, size: int, channels: int = 256):
        """
        Args:
            map_shape: C, h and w of the map that it reads.
            outputs: K.
            size: s in pixels.
            channels: of each transposed convolution.
        """
        super().__init__()
        self.map_shape, self.out_features, self.size, self.channels = tuple(map_shape), outputs, size, channels
        inputs, height, width = map_shape
        layers: list[nn.Module] = []
        for _ in range(max(0, math.ceil(math.log2(size / min(height, width))))):
            convolution = nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(convolution.weight, std=0.02)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            inputs = channels
        last = nn.Conv2d(inputs, outputs, 1)
        nn.init.normal_(last.weight, std=0.001)
        nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B K s s"]:
        y = self.layers(x)
        side = (self.size, self.size)
        return y if y.shape[-2:] == side else F.interpolate(y, side, mode="bilinear", align_corners=False)

    def spec(self) -> dict[str, Any]:
        """How to rebuild it with other weights, as JSON; ``from_spec`` takes it back."""
        return {"kind": self.kind, "map_shape": list(self.map_shape), "size": self.size, "channels": self.channels}

    @classmethod
    def from_spec(cls, spec: dict[str, Any], outputs: int) -> "DeconvolutionHead":
        return cls(tuple(spec["map_shape"]), outputs=outputs, size=spec["size"], channels=spec["channels"])
