"""Random variations of a whole batch at once, on the device it is on.

Random numbers are drawn on the generator's own device, so that a CPU generator gives the same crops on every device.
"""

import math

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

# Up to this side the paper's small-image recipe applies: pad 4 pixels of 32 and crop.
SMALL_CANVAS = 64
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)


def _uniform(n: int, generator: torch.Generator, device: torch.device) -> Float[Tensor, " n"]:
    return torch.rand(n, generator=generator, device=generator.device).to(device)


def flip(canvas: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
    """Mirror each image left to right with probability one half."""
    mirrored: Bool[Tensor, " B"] = _uniform(len(canvas), generator, canvas.device) < 0.5
    return torch.where(mirrored[:, None, None, None], canvas.flip(-1), canvas)


def crop(canvas: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
    """A random crop, brought to the same size: padded and shifted up to 64 pixels, resized beyond."""
    small = max(canvas.shape[-2:]) <= SMALL_CANVAS
    return pad_crop(canvas, generator) if small else random_resized_crop(canvas, generator)


def pad_crop(canvas: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
    """Pad every side with an eighth of its length (4 pixels of 32) in black, and cut the original size out at a random place."""
    B, _, H, W = canvas.shape
    pad_h, pad_w = round(H / 8), round(W / 8)
    padded = F.pad(canvas, (pad_w, pad_w, pad_h, pad_h)).permute(0, 2, 3, 1)
    top = (_uniform(B, generator, canvas.device) * (2 * pad_h + 1)).long()
    left = (_uniform(B, generator, canvas.device) * (2 * pad_w + 1)).long()
    row = top[:, None] + torch.arange(H, device=canvas.device)
    column = left[:, None] + torch.arange(W, device=canvas.device)
    sample = torch.arange(B, device=canvas.device)
    return padded[sample[:, None, None], row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2).contiguous()


def random_resized_crop(canvas: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
    """A random part of 8 to 100 % of the area, aspect ratio 3/4 to 4/3 of the canvas' own, resized (bilinear) to the whole canvas.

    Differs from torchvision's: a box longer than the canvas is shortened, not drawn again; boxes begin between pixels.
    """
    B, C, H, W = canvas.shape
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * _uniform(B, generator, canvas.device)
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * _uniform(B, generator, canvas.device))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    # In grid_sample's coordinates the canvas is [-1, 1], and a box of relative width w has its centre within 1 - w of 0.
    x = (2 * _uniform(B, generator, canvas.device) - 1) * (1 - width)
    y = (2 * _uniform(B, generator, canvas.device) - 1) * (1 - height)
    zero = torch.zeros_like(width)
    affine = torch.stack([torch.stack([width, zero, x], -1), torch.stack([zero, height, y], -1)], 1)
    grid = F.affine_grid(affine, [B, C, H, W], align_corners=False)
    resized = F.grid_sample(canvas.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)
