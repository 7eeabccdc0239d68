"""PARC: whether images with unlike features have unlike labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.proxies.prepared import Features, as_classes, as_features, check_pairs


def parc(features: Float[Tensor, "N D"] | Features, labels: Int[Tensor, " N"]) -> float:
    """Spearman's correlation between the pairwise distances of the features and those of the one-hot labels.

    Both distances are 1 - Pearson's correlation of two rows, over all pairs n < m; features are first standardised, each to mean 0 and
    variance 1 over the images. Label distances take two values only, so with r_nm the rank of a feature distance (equal ones share the
    mean of their ranks) the result is the correlation of r with [y_n != y_m].

    Source: Bolya, Mittapalli, Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning", NeurIPS 2021, section 4.1;
    the standardisation is in its published code only.
    Differs from the paper: no PCA to 32 dimensions, and the correlation is not multiplied by 100. An image whose standardised features
    are all equal has correlation 0 with the others; distances within 1e-12 count as equal.
    Needs: features and labels.
    Cost: sorts N (N - 1) / 2 distances; 0.2 s of CPU at N = 1000, D = 2048.
    Number: -1 to 1; 0 for no relation, and where all images are of different classes.

    Args:
        features: (N, D), a tensor or a prepared value.
        labels: (N,) whole numbers.

    Returns:
        The rank correlation.

    Raises:
        DataError: bad features or labels, one class, or more than 10,000 images.
    """
    prepared = as_features(features)
    check_pairs(len(prepared))
    classes = as_classes(labels, len(prepared))
    spread = prepared.unit.square().mean(0).sqrt()
    rows = torch.where(spread > 0, prepared.unit / spread, 0.0)
    rows = rows - rows.mean(1, keepdim=True)
    length = rows.norm(dim=1, keepdim=True)
    # A row of equal values leaves rounding errors behind, which must not be blown up to a direction.
    rows = torch.where(length > 1e-12 * rows.shape[1] ** 0.5, rows / length, 0.0)
    first, second = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    distances = ((1.0 - rows @ rows.T)[first, second] * 1e12).round()
    index = classes.index.to(rows.device)
    return _correlation(_ranks(distances), (index[first] != index[second]).double())


def _ranks(values: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - 0.5 * (counts - 1))[place]


def _correlation(a: Float[Tensor, " P"], b: Float[Tensor, " P"]) -> float:
    """Pearson's correlation; 0 where one side is constant."""
    a, b = a.double() - a.double().mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0.0 else 0.0
