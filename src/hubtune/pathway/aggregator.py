"""A: from the weighted outputs of all models to the hub's output."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Init = Literal["identity", "random"]


class Aggregator(nn.Module):
    """A(z) = W [z_1 ... z_m] + b with z_i = G_i(x) Theta_i(x), zero for blocked models; W is (C, m C).

    ``identity`` starts from W = [I I ... I], b = 0: at first the output is the weighted sum of the models' outputs. Outputs with places
    behind the C channels, (B, C, H, W), share one W over all places: a 1 x 1 convolution. Computed in float32.

    Source: Shu et al. (2022), section 3.
    Differs from the paper: it leaves form and initialisation open; the start from identities is ours.
    """

    def __init__(self, models: int, outputs: int, init: Init = "identity"):
        """
        Args:
            models: m.
            outputs: C.
            init: of W and b; ``random`` is torch's default for a linear layer.
        """
        super().__init__()
        self.linear = nn.Linear(models * outputs, outputs)
        if init == "identity":
            with torch.no_grad():
                self.linear.weight.copy_(torch.eye(outputs).repeat(1, models))
                self.linear.bias.zero_()

    def forward(self, weighted: Float[Tensor, "B m C ..."]) -> Float[Tensor, "B C ..."]:
        """The hub's outputs."""
        with torch.autocast(weighted.device.type, enabled=False):
            return self.linear(weighted.float().flatten(1, 2).movedim(1, -1)).movedim(-1, 1)
