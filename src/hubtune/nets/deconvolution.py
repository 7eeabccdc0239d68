"""A head that answers at every place: from one of a network's maps to maps of a given size."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DOUBLINGS = 3
"""Of a map's side, at most: a deeper map knows too little of where."""


class DeconvolutionHead(nn.Module):
    """Maps (B, C, h, w) to maps (B, K, s, s): transposed convolutions that double the side, each with BatchNorm and ReLU, then 1 x 1.

    There are round(log2(s / h)) of them, three from a map of 8 to one of 64; where the doubled side misses s, the result is resized
    bilinearly. The last layer starts near zero, N(0, 0.001): at first every place answers nothing.

    Source: Xiao, Wu and Wei (2018), Simple baselines for human pose estimation and tracking, section 2.
    Differs from the paper: networks whose last map is smaller than s / 8 give the deepest of their maps that is not, rather than the last.
    """

    kind = "deconvolution"

    def __init__(self, map_shape: tuple[int, int, int], *, level: int, outputs: int, size: int, channels: int = 256):
        """
        Args:
            map_shape: C, h and w of the map that it reads.
            level: of that map among the network's.
            outputs: K.
            size: s in pixels.
            channels: of each transposed convolution.
        """
        super().__init__()
        self.map_shape, self.level, self.out_features, self.size, self.channels = tuple(map_shape), level, outputs, size, channels
        inputs = map_shape[0]
        layers: list[nn.Module] = []
        for _ in range(_doublings(map_shape, size)):
            convolution = nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(convolution.weight, std=0.02)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            inputs = channels
        last = nn.Conv2d(inputs, outputs, 1)
        nn.init.normal_(last.weight, std=0.001)
        nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
        self.layers = nn.Sequential(*layers, last)

    @classmethod
    def on(cls, map_shapes: Sequence[tuple[int, int, int]], *, outputs: int, size: int, channels: int = 256) -> "DeconvolutionHead":
        """On the deepest map that three doublings bring to the size, or the largest where there is none."""
        near = [level for level, shape in enumerate(map_shapes) if _doublings(shape, size) <= DOUBLINGS]
        level = near[-1] if near else max(range(len(map_shapes)), key=lambda level: map_shapes[level][1])
        return cls(map_shapes[level], level=level, outputs=outputs, size=size, channels=channels)

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K s s"]:
        """
        Args:
            maps: all of the network's.
        """
        y = self.layers(maps[self.level])
        side = (self.size, self.size)
        return y if y.shape[-2:] == side else F.interpolate(y, side, mode="bilinear", align_corners=False)

    def spec(self) -> dict[str, Any]:
        """How to rebuild it with other weights, as JSON; ``from_spec`` takes it back."""
        return {"kind": self.kind, "map_shape": list(self.map_shape), "level": self.level, "size": self.size, "channels": self.channels}

    @classmethod
    def from_spec(cls, spec: dict[str, Any], outputs: int) -> "DeconvolutionHead":
        return cls(tuple(spec["map_shape"]), level=spec["level"], outputs=outputs, size=spec["size"], channels=spec["channels"])


def _doublings(map_shape: tuple[int, int, int], size: int) -> int:
    return max(0, round(math.log2(size / min(map_shape[1:]))))
