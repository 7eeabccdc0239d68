"""What a forward pass costs."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def flops(network: nn.Module, images: torch.Tensor) -> int:
    """Floating-point operations (2 x multiply-adds) of one forward pass over a batch, counted while it runs."""
    # Attention is computed by its formula meanwhile: torch has no count for its fused form on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()
