"""How large a generator may be that decides about models of a given cost."""

from collections.abc import Sequence

import torch

from hubtune.pathway.generator import WIDTH, resnet9
from hubtune.training.flops import flops
from hubtune.training.predictor import Single

SHARE = 0.15
"""Of the mean model's operations, what the generator may cost."""
LEAST_SIZE = 32
WIDTHS = (WIDTH, 48, 32, 24, 16)


def auto_size(largest: int) -> int:
    """Half of the largest model's input side, for a quarter of the operations; but no fewer pixels than a generator can tell apart."""
    return min(largest, max(LEAST_SIZE, largest // 2))


def auto_width(members: Sequence[Single], size: int) -> int:
    """The largest width at which the generator costs at most ``SHARE`` of the mean model, or the smallest there is."""
    mean = sum(costs(members)) / len(members)
    image = torch.zeros(1, 3, size, size)
    for width in WIDTHS:
        if flops(resnet9(width).eval(), image) <= SHARE * mean:
            return width
    return WIDTHS[-1]


def costs(members: Sequence[Single]) -> list[int]:
    """Floating-point operations of each model for one image."""
    return [flops(member, canvas_of(member.backbone.input_size)) for member in members]


def canvas_of(side: int) -> torch.Tensor:
    """One empty image."""
    return torch.zeros(1, 3, side, side, dtype=torch.uint8)
