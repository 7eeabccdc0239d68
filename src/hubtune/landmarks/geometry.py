"""Boxes around faces, and random variations of crops together with their points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from hubtune.tasks.images import ImageSource, decode

UNIT = 200.0
"""Pixels that a box of scale 1 is long, before it is enlarged."""


@dataclass(frozen=True)
class Box:
    """A square in an image, in pixels; (0, 0) is the image's upper left corner. It may reach beyond the image."""

    left: float
    top: float
    side: float

    @classmethod
    def around(cls, center: tuple[float, float], scale: float, crop: float) -> "Box":
        """The box of side 200 scale crop around a face's centre.

        Source: Sun et al. (2019), the authors' code; 300W, WFLW and COFW give centres and scales so.
        """
        side = UNIT * scale * crop
        return cls(center[0] - side / 2, center[1] - side / 2, side)

    @classmethod
    def of_points(cls, points: Float[Tensor, "K 2"], crop: float) -> "Box":
        """The box around the known points, rounded outwards to whole pixels, then enlarged."""
        known = points[points.isfinite().all(1)]
        low, high = known.amin(0).floor(), known.amax(0).ceil()
        x, y = ((low + high) / 2).tolist()
        return cls.around((x, y), float((high - low).max()) / UNIT, crop)

    @classmethod
    def of_image(cls, width: int, height: int) -> "Box":
        """The smallest square around a whole image."""
        side = max(width, height)
        return cls((width - side) / 2, (height - side) / 2, side)

    def inwards(self, points: Float[Tensor, "*rest 2"]) -> Float[Tensor, "*rest 2"]:
        """From pixels of the image to fractions of the box."""
        return (points - points.new_tensor([self.left, self.top])) / self.side

    def outwards(self, points: Float[Tensor, "*rest 2"]) -> Float[Tensor, "*rest 2"]:
        """From fractions of the box to pixels of the image."""
        return points * self.side + points.new_tensor([self.left, self.top])


@dataclass(frozen=True)
class Crop:
    """An image of which only a box is seen; it is opened when it is asked for. Black beyond its edges."""

    image: ImageSource
    box: Box

    def load(self) -> Image.Image:
        """The box at the image's own resolution."""
        left, top, side = self.box.left, self.box.top, self.box.side
        x, y = math.floor(left), math.floor(top)
        whole = Image.fromarray(decode(self.image)).crop((x, y, math.ceil(left + side), math.ceil(top + side)))
        pixels = max(1, round(side))
        return whole.resize((pixels, pixels), Image.Resampling.BICUBIC, box=(left - x, top - y, left - x + side, top - y + side))


def flip(
    canvas: UInt8[Tensor, "B 3 H W"], points: Float[Tensor, "B K 2"], pairs: Sequence[tuple[int, int]]
) -> tuple[UInt8[Tensor, "B 3 H W"], Float[Tensor, "B K 2"]]:
    """Mirror images left to right: x becomes 1 - x, and the points of each pair change places, so that each keeps its meaning."""
    order = list(range(points.shape[1]))
    for first, second in pairs:
        order[first], order[second] = second, first
    mirrored = points[:, order]
    return canvas.flip(-1), torch.stack([1 - mirrored[..., 0], mirrored[..., 1]], -1)


def turn(
    canvas: UInt8[Tensor, "B 3 H W"], points: Float[Tensor, "B K 2"], angle: Float[Tensor, " B"], scale: Float[Tensor, " B"]
) -> tuple[UInt8[Tensor, "B 3 H W"], Float[Tensor, "B K 2"]]:
    """Rotate square images about their middle, and look at a larger or smaller part of them.

    With coordinates from -1 to 1, what is seen at o lay at scale R(angle) o; black where that is beyond the image.

    Args:
        points: fractions of the crop.
        angle: in radians, counter-clockwise as one sees it.
        scale: side of the part that is looked at; 1 is the whole image.
    """
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    affine = F.pad(rotation * scale[:, None, None], (0, 1))
    grid = F.affine_grid(affine, list(canvas.shape), align_corners=False)
    seen = F.grid_sample(canvas.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved = ((2 * points - 1) @ rotation.to(points.dtype)) / scale[:, None, None]
    return seen.round_().clamp_(0, 255).to(torch.uint8), (moved + 1) / 2
