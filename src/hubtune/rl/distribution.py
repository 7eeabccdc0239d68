"""Distributions of returns over fixed atoms."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def support(atoms: int, lowest: float, highest: float) -> Float[Tensor, " N"]:
    """The N returns that a distribution is over, evenly spaced."""
    return torch.linspace(lowest, highest, atoms)


def project(
    probabilities: Float[Tensor, "B N"], rewards: Float[Tensor, " B"], discounts: Float[Tensor, " B"], support: Float[Tensor, " N"]
) -> Float[Tensor, "B N"]:
    """The distribution of r + g Z, where Z has ``probabilities`` over the support, brought back to the support.

    Each atom r + g z_j is clipped to the support's ends and split between its two neighbours, in proportion to how near they are:
    m_i = sum_j p_j max(0, 1 - |clip(r + g z_j) - z_i| / dz).

    Source: Bellemare, Dabney and Munos (2017), A distributional perspective on reinforcement learning, Equation 7.

    Args:
        probabilities: rows sum to one.
        rewards: r, such as a sum of n discounted rewards.
        discounts: g, such as 0.99^n; 0 where the episode ended.
    """
    lowest, highest = support[0], support[-1]
    spacing = (highest - lowest) / (len(support) - 1)
    moved = (rewards[:, None] + discounts[:, None] * support).clamp(lowest, highest)
    place = ((moved - lowest) / spacing).clamp(0, len(support) - 1)
    below = place.floor()
    share_above = place - below
    low = below.long()
    high = (low + 1).clamp_max(len(support) - 1)
    projected = torch.zeros_like(probabilities)
    projected.scatter_add_(1, low, probabilities * (1 - share_above))
    return projected.scatter_add_(1, high, probabilities * share_above)


def values(logits: Float[Tensor, "B N A"], support: Float[Tensor, " N"]) -> Float[Tensor, "B A"]:
    """The expected return of each action: sum_i z_i softmax(logits)_i."""
    return torch.einsum("bna,n->ba", logits.softmax(1), support)


def of_actions(logits: Float[Tensor, "B N A"], actions: Int[Tensor, " B"]) -> Float[Tensor, "B N"]:
    """The atoms of one action in each row."""
    return logits.gather(2, actions[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)


def cross_entropy(logits: Float[Tensor, "B N A"], actions: Int[Tensor, " B"], target: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """-sum_i m_i log p_i of the action that was taken."""
    return -(target * of_actions(logits, actions).log_softmax(1)).sum(1)
