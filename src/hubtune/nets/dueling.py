"""A head that answers with a distribution of returns for each action: dueling streams of noisy layers."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FEW = 4
"""Rows from which on it pays to make the noisy weight."""


class NoisyLinear(nn.Module):
    """y = (mu_w + sigma_w * eps_w) x + mu_b + sigma_b * eps_b, with factorised noise.

    eps_w = f(e_out) f(e_in)^T and eps_b = f(e_out) with f(e) = sign(e) sqrt(|e|) and e ~ N(0, 1). The noise is a state: it stays until
    ``draw`` is called, so that whoever acts or learns decides when it changes. In evaluation mode there is none. mu starts uniform in
    +-1/sqrt(in), all of sigma at ``sigma`` / sqrt(in).

    Source: Fortunato et al. (2018), Noisy networks for exploration, sections 3 and 3.2.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(self, in_features: int, out_features: int, sigma: float = 0.1):
        super().__init__()
        self.in_features, self.out_features, self.sigma = in_features, out_features, sigma
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((out_features, in_features), sigma * bound))
        self.bias = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound))
        self.bias_sigma = nn.Parameter(torch.full((out_features,), sigma * bound))
        self.register_buffer("noise_in", torch.zeros(in_features), persistent=False)
        self.register_buffer("noise_out", torch.zeros(out_features), persistent=False)

    def draw(self) -> None:
        """Draw the noise anew, from torch's global generator."""
        for noise in (self.noise_in, self.noise_out):
            drawn = torch.randn(noise.shape, device=noise.device)
            noise.copy_(drawn.sign() * drawn.abs().sqrt())

    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B o"]:
        if not self.training:
            return F.linear(x, self.weight, self.bias)
        bias = torch.addcmul(self.bias, self.bias_sigma, self.noise_out)
        if len(x) >= FEW:
            return F.linear(x, torch.addcmul(self.weight, self.weight_sigma, torch.outer(self.noise_out, self.noise_in)), bias)
        # The same without the noisy weight, dearer to make than to do without: eps_w x = f(e_out) (f(e_in) . x), scaled entry by entry.
        return F.linear(x, self.weight, bias) + F.linear(x * self.noise_in, self.weight_sigma) * self.noise_out


def draw_noise(network: nn.Module) -> None:
    """Draw the noise of every noisy layer anew."""
    for module in network.modules():
        if isinstance(module, NoisyLinear):
            module.draw()


class DuelingHead(nn.Module):
    """Logits of each action's distribution of returns: z_a = v + u_a - mean_a' u_a', each of N atoms.

    v and u are two streams of a hidden noisy layer, ReLU, and a noisy layer. The softmax over the atoms is the caller's.

    Source: Wang et al. (2016), Dueling network architectures, Equation 9; Hessel et al. (2018), Rainbow, section "Integrated agent".
    """

    kind = "dueling"

    def __init__(self, features: int, actions: int, *, atoms: int = 51, hidden: int = 256, sigma: float = 0.1):
        super().__init__()
        self.in_features, self.out_features, self.atoms, self.hidden, self.sigma = features, actions, atoms, hidden, sigma
        self.value = nn.Sequential(NoisyLinear(features, hidden, sigma), nn.ReLU(), NoisyLinear(hidden, atoms, sigma))
        self.advantage = nn.Sequential(NoisyLinear(features, hidden, sigma), nn.ReLU(), NoisyLinear(hidden, atoms * actions, sigma))

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B N A"]:
        advantage = self.advantage(x).unflatten(1, (self.atoms, self.out_features))
        return self.value(x)[:, :, None] + advantage - advantage.mean(2, keepdim=True)

    def spec(self) -> dict[str, Any]:
        """How to rebuild it with other weights, as JSON; ``from_spec`` takes it back."""
        return {"kind": self.kind, "features": self.in_features, "atoms": self.atoms, "hidden": self.hidden, "sigma": self.sigma}

    @classmethod
    def from_spec(cls, spec: dict[str, Any], outputs: int) -> "DuelingHead":
        return cls(spec["features"], outputs, atoms=spec["atoms"], hidden=spec["hidden"], sigma=spec["sigma"])
