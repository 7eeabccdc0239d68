"""LEEP: how well the source classes that a model sees in the target images predict the target labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hubtune.errors import DataError
from hubtune.proxies.prepared import as_classes, check_rows


def leep(source_probs: Float[Tensor, "N Z"], labels: Int[Tensor, " N"]) -> float:
    """The log-likelihood of the labels under the empirical predictor that a source head induces.

        LEEP = 1/N Σ_n log Σ_z P(y_n | z) θ_n(z),   P(y, z) = 1/N Σ_{n: y_n = y} θ_n(z),   P(y | z) = P(y, z) / Σ_y P(y, z)

    with θ (N, Z) the probabilities of the Z source classes for each image. A source class without any mass adds zero.

    Source: Nguyen et al., "LEEP: A New Measure to Evaluate Transferability of Learned Representations", ICML 2020, equations 1 and 2.
    Differs from the paper: none.
    Needs: a model with its upstream head.
    Cost: two passes over θ; 0.01 s of CPU at N = 1000, Z = 1000.
    Number: nats for an image, at most 0; compare only on the same labels.

    Args:
        source_probs: (N, Z), rows that sum to one.
        labels: (N,) whole numbers.

    Returns:
        The log expected empirical prediction.

    Raises:
        DataError: probabilities that are negative or do not sum to one (logits, say), bad labels, or one class.
    """
    theta = check_probabilities(source_probs)
    classes = as_classes(labels, len(theta))
    index = classes.index.to(theta.device)
    joint = theta.new_zeros(len(classes), theta.shape[1]).index_add_(0, index, theta)
    mass = joint.sum(0)
    conditional = torch.where(mass > 0, joint / mass, 0.0)
    return float((conditional[index] * theta).sum(1).log().mean())


def check_probabilities(source_probs: Tensor) -> Float[Tensor, "N Z"]:
    """Rows of probabilities, float64.

    Raises:
        DataError: not a finite floating matrix, negative values, or rows whose sum is more than 0.01 from one.
    """
    theta = check_rows("source_probs", source_probs).double()
    sums = theta.sum(1)
    wrong = (theta < 0).any(1) | ((sums - 1.0).abs() > 0.01)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DataError(
            f"source_probs: {int(wrong.sum())} of {len(theta)} rows are not probabilities (row {first} sums to {float(sums[first]):.4g}, "
            f"its smallest value is {float(theta[first].min()):.4g}); apply softmax to the logits of the upstream head"
        )
    return theta
