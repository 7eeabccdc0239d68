"""NCE: how much of the target labels is known once the source labels are."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.proxies.prepared import as_classes, check_labels


def nce(source_labels: Int[Tensor, " N"], labels: Int[Tensor, " N"]) -> float:
    """The negative conditional entropy of the labels given the source labels of the same images.

        NCE = -H(Y | Z) = Σ_{y, z} P(y, z) log(P(y, z) / P(z))

    with P the shares among the N images. A pair or a source class that never occurs adds zero.

    Source: Tran, Nguyen, Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019, equation 3.
    Differs from the paper: the source labels are those the source head finds likeliest (as LEEP's authors do), not annotations.
    Needs: a model with its upstream head.
    Cost: one pass over the labels, below 0.001 s of CPU at N = 1000.
    Number: nats for an image, from minus the entropy of the labels' shares (Z tells nothing) to 0 (Z tells all).

    Args:
        source_labels: (N,) whole numbers.
        labels: (N,) whole numbers.

    Returns:
        The negative conditional entropy.

    Raises:
        DataError: bad labels, or one target class.
    """
    sources = check_labels("source_labels", source_labels)
    classes = as_classes(labels, len(sources))
    index = classes.index.to(sources.device)
    present, column = sources.unique(return_inverse=True)
    pairs = torch.bincount(index * len(present) + column, minlength=len(classes) * len(present)).double().view(len(classes), -1)
    return _negative_entropy(pairs) / len(index)


def _negative_entropy(pairs: Float[Tensor, "C Z"]) -> float:
    """Σ n_yz log(n_yz / n_z)."""
    return float(torch.xlogy(pairs, pairs / pairs.sum(0)).sum())
