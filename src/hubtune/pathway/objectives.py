"""What Hub-Pathway minimises beside the task's loss."""

import torch
from jaxtyping import Float
from torch import Tensor


def exploration_loss(weights: Float[Tensor, "B m"]) -> Float[Tensor, ""]:
    """L_explore = -H(mean_b G(x_b)) = sum_i g_i log g_i in nats, g the mean over the batch of the dense, noisy weights.

    From -log m, where all models share the weight alike, to 0, where one has all of it. It reaches the generator alone.

    Source: Shu et al. (2022), Equation 4.
    Differs from the paper: the mean is over the batch, not over the data set.
    """
    mean = weights.mean(0)
    return (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()


def cost_loss(weights: Float[Tensor, "B m"], costs: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """L_cost = mean_b sum_i G(x_b)_i c_i / c, the expected cost of a model drawn by its weight, in units of the mean model's cost c.

    It reaches the generator alone: dear models must earn their weight, image by image.

    Source: ours; Shu et al. (2022) leave a model's cost out of account.

    Args:
        costs: c_i > 0, such as floating-point operations an image.
    """
    return (weights @ (costs / costs.mean())).mean()


def exploitation_loss(losses: Float[Tensor, "B k"]) -> Float[Tensor, ""]:
    """L_exploit = 1/B sum_b sum_j l(Theta_i(x_b), y_b) over the k models i that image b activates.

    It reaches the activated models and their heads alone: which ones those are is no differentiable function of the generator.

    Source: Shu et al. (2022), Equation 5.

    Args:
        losses: the task's loss of each activated model's own output.
    """
    return losses.sum(1).mean()
