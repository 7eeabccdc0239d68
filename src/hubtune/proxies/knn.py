"""kNN: the validation accuracy of the nearest training images."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.proxies.prepared import Features, as_classes, as_features, check_validation

# float64 values of distances, or of candidates compared exactly, held at once: 64 MiB.
_CHUNK = 8 * 2**20


def knn_accuracy(
    train_features: Float[Tensor, "N D"] | Features,
    train_labels: Int[Tensor, " N"],
    val_features: Float[Tensor, "V D"],
    val_labels: Int[Tensor, " V"],
    k: int = 1,
) -> float:
    """The share of validation images whose k nearest training images vote for their class.

    Distances are Euclidean, |v - x_n|², in float64: |v|² + |x_n|² - 2 v·x_n picks all candidates that rounding could put among the
    nearest k, and Σ_d (v_d - x_nd)² orders those. Equal distances go to the training image that comes first, equal votes to the class
    of the nearest voter.

    Source: Renggli et al., "Which Model to Transfer? Finding the Needle in the Growing Haystack", section 4.3 (k = 1; k = 3 in 5.4).
    Differs from the paper: none; it leaves ties open.
    Needs: features and labels, and validation images.
    Cost: one product of V x D by D x N in float64; 0.03 s of CPU at N = 800, V = 200, D = 2048.
    Number: an accuracy, 0 to 1, on the validation images.

    Args:
        train_features: (N, D), a tensor or a prepared value.
        train_labels: (N,) whole numbers.
        val_features: (V, D).
        val_labels: (V,) whole numbers; classes without a training image count as wrong.
        k: how many neighbours vote, 1 .. N.

    Returns:
        The validation accuracy.

    Raises:
        DataError: bad features or labels, one class only, or features of different widths.
        ConfigurationError: k is not in 1 .. N.
    """
    prepared = as_features(train_features)
    as_classes(train_labels, len(prepared))
    train, val, own, wanted = check_validation(prepared, train_labels, val_features, val_labels)
    if not 1 <= k <= len(train):
        raise ConfigurationError(f"k: {k} given for {len(train)} training images, 1 .. {len(train)} expected")
    nearest = own[_neighbours(prepared, val.double(), k)]
    votes = (nearest[:, :, None] == nearest[:, None, :]).sum(2)
    # The most votes first; among equals, the nearest.
    winner = (votes * k - torch.arange(k, device=votes.device)).argmax(1)
    return float((nearest.gather(1, winner[:, None])[:, 0] == wanted).double().mean())


def knn3_accuracy(
    train_features: Float[Tensor, "N D"] | Features,
    train_labels: Int[Tensor, " N"],
    val_features: Float[Tensor, "V D"],
    val_labels: Int[Tensor, " V"],
) -> float:
    """The share of validation images whose three nearest training images vote for their class.

    `knn_accuracy` with k = 3, or k = N where there are fewer images.

    Source: Renggli et al., "Which Model to Transfer? Finding the Needle in the Growing Haystack", section 5.4.
    Differs from the paper: none; it leaves ties open.
    Needs: features and labels, and validation images.
    Cost: that of `knn_accuracy`.
    Number: an accuracy, 0 to 1, on the validation images.

    Args:
        train_features: (N, D), a tensor or a prepared value.
        train_labels: (N,) whole numbers.
        val_features: (V, D).
        val_labels: (V,) whole numbers; classes without a training image count as wrong.

    Returns:
        The validation accuracy.

    Raises:
        DataError: bad features or labels, one class only, or features of different widths.
    """
    prepared = as_features(train_features)
    return knn_accuracy(prepared, train_labels, val_features, val_labels, k=min(3, len(prepared)))


def _neighbours(prepared: Features, val: Float[Tensor, "V D"], k: int) -> Int[Tensor, "V k"]:
    """The k nearest training images of each row, the nearest first."""
    train, lengths = prepared.rows.double(), prepared.unit.square().sum(1)
    chosen = []
    for rows in val.split(max(1, _CHUNK // len(train))):
        unit = (rows - prepared.mean) / prepared.scale
        sizes = unit.square().sum(1)[:, None] + lengths
        rough = sizes - 2 * unit @ prepared.unit.T
        reach = rough.kthvalue(k, dim=1, keepdim=True).values + 1e-12 * sizes.amax(1, keepdim=True)
        wide = int((rough <= reach).sum(1).max())
        candidates = rough.topk(wide, largest=False).indices.sort(1).values
        step = max(1, _CHUNK // (wide * train.shape[1]))
        for part, columns in zip(rows.split(step), candidates.split(step), strict=True):
            exact = (part[:, None] - train[columns]).square().sum(2)
            chosen.append(columns.gather(1, exact.sort(dim=1, stable=True).indices[:, :k]))
    return torch.cat(chosen)
