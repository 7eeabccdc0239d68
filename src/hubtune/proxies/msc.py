"""MSC: the mean silhouette coefficient of the classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.proxies.prepared import Features, as_classes, as_features


def msc(features: Float[Tensor, "N D"] | Features, labels: Int[Tensor, " N"]) -> float:
    """How much nearer an image is to its own class than to the next one, averaged over images.

        MSC = 1/N Σ_n (b_n - a_n) / max(a_n, b_n)

    with a_n the mean Euclidean distance of image n to the other images of its class and b_n the smallest mean distance to the images of
    another class; an image alone in its class, or at distance zero from all, adds zero.

    Source: Meiseles and Rokach, "Source Model Selection for Deep Learning in the Time Series Domain", IEEE Access 2020, section III;
    the coefficient by Rousseeuw, 1987.
    Differs from the paper: none.
    Needs: features and labels.
    Cost: all N x N distances; 0.1 s of CPU at N = 1000, D = 2048.
    Number: -1 to 1; 1 for tight, distant classes, 0 for classes on top of each other.

    Args:
        features: (N, D), a tensor or a prepared value.
        labels: (N,) whole numbers.

    Returns:
        The mean silhouette coefficient.

    Raises:
        DataError: bad features or labels, one class, or more than 10,000 images.
    """
    prepared = as_features(features)
    classes = as_classes(labels, len(prepared))
    distances = prepared.squared_distances.sqrt()
    index, counts = classes.index.to(distances.device)[:, None], classes.counts.to(distances.device)
    sums = distances @ classes.one_hot().to(distances.device)
    own = counts[index[:, 0]] - 1.0
    inside = sums.gather(1, index)[:, 0] / own.clamp(min=1.0)
    outside = (sums / counts).scatter_(1, index, torch.inf).amin(1)
    largest = torch.maximum(inside, outside)
    silhouettes = torch.where((own > 0) & (largest > 0), (outside - inside) / largest, 0.0)
    return float(silhouettes.mean())
