"""Which models each image passes through, and how the batch gets there and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

SMALLEST = torch.finfo(torch.float32).tiny
"""What a chosen model's weight is at least: the softmax of a model far behind underflows to zero, and a path has k models all the same."""


@dataclass(frozen=True)
class Path:
    """The k models of each image, largest weight first."""

    models: Int[Tensor, "B k"]
    weights: Float[Tensor, "B k"]

    def dense(self, models: int) -> Float[Tensor, "B m"]:
        """Weights by model, exact zeros where blocked."""
        return spread(self.weights, self.models, models)


def top_k(weights: Float[Tensor, "B m"], k: int) -> Path:
    """f_topk: each row's k largest entries, not renormalised; of equal entries the first models are taken.

    The models are chosen by their place in the order, not by ``weight > 0``, which fails where a weight underflows.

    Source: Shu et al. (2022), Equation 1.
    """
    models = weights.detach().argsort(dim=1, descending=True, stable=True)[:, :k]
    return Path(models, weights.gather(1, models).clamp_min(SMALLEST))


def route(
    networks: Sequence[Callable[[Tensor], Tensor]], canvas: Shaped[Tensor, "B ..."], models: Int[Tensor, "B k"]
) -> Float[Tensor, "B k ..."]:
    """Outputs of each image's own models: Theta_i(x_b) at [b, j] for i = models[b, j].

    The B k pairs are sorted by model, each model runs once on its own rows, and the outputs go back to their places. A model that no
    image chose is not run. One host synchronisation, for the number of rows of each model; none where k = m.

    Args:
        networks: m functions from n rows of a canvas to n outputs, all outputs of one shape.
        canvas: the whole batch.
        models: k different models for each image.

    Returns:
        float32.
    """
    k = models.shape[1]
    if k == len(networks):  # all run on everything: nothing to gather and to sort
        outputs = torch.stack([network(canvas).float() for network in networks], dim=1)
        return outputs[torch.arange(len(canvas), device=models.device)[:, None], models]
    order = models.flatten().argsort(stable=True)
    counts = models.flatten().bincount(minlength=len(networks)).tolist()
    rows = order.div(k, rounding_mode="floor").split(counts)
    outputs = [network(canvas[own]).float() for network, own in zip(networks, rows, strict=True) if len(own)]
    return torch.cat(outputs)[order.argsort()].unflatten(0, models.shape)


def spread(values: Float[Tensor, "B k ..."], models: Int[Tensor, "B k"], count: int) -> Float[Tensor, "B m ..."]:
    """Values at their models' places, exact zeros elsewhere.

    Args:
        count: m.
    """
    places = models.reshape(*models.shape, *[1] * (values.ndim - 2)).expand_as(values)
    return values.new_zeros(len(values), count, *values.shape[2:]).scatter(1, places, values)
