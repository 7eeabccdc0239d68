"""How sure a difference between two methods is."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from hubtune.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference with its 95 % interval; no interval where one number was compared with one number."""

    mean: float
    low: float | None
    high: float | None


def paired_difference(scores: Shaped[np.ndarray, "S N"], reference: Shaped[np.ndarray, "S N"], level: float = 0.95) -> Difference:
    """The mean of d_sn = scores_sn - reference_sn, and how far it may be from that of all seeds and all images.

    Both are drawn at random: d_sn = mu + a_s + b_n + e_sn. With the mean squares MS_S of seeds, MS_N of images and MS_E of the rest,

        Var(mean) = (max(MS_S, MS_E) + max(MS_N, MS_E) - MS_E) / (S N),

    and Student's t has the degrees of freedom of Satterthwaite. With one image (or one number a seed) it is the paired t interval over
    seeds, with one seed that over images.

    Source: Searle, Casella and McCulloch (1992), Variance components, section 4.5; Satterthwaite (1946).

    Args:
        scores: of S seeds on N images (or tasks), such as whether an answer is right.
        reference: of the method compared with, on the same seeds and images.
        level: of the interval.

    Raises:
        ConfigurationError: the two do not fit, or are empty.
    """
    from scipy.stats import t

    if scores.shape != reference.shape or not scores.size:
        raise ConfigurationError(f"given scores {scores.shape} and {reference.shape}; expected two equal shapes (seeds, images), not empty")
    d = scores.astype(float) - reference.astype(float)
    mean, (seeds, images) = float(d.mean()), d.shape
    if d.size == 1:
        return Difference(mean=mean, low=None, high=None)
    rows, columns = d.mean(1), d.mean(0)
    if min(d.shape) == 1:
        freedom = d.size - 1
        variance = float(d.var(ddof=1)) / d.size
    else:
        freedoms = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
        rest = d - rows[:, None] - columns[None] + mean
        squares = np.array([images * ((rows - mean) ** 2).sum(), seeds * ((columns - mean) ** 2).sum(), (rest**2).sum()]) / freedoms
        total = max(squares[0], squares[2]) + max(squares[1], squares[2]) - squares[2]
        variance = float(total) / d.size
        freedom = max(1.0, float(total**2 / (squares**2 / freedoms).sum())) if total > 0 else 1.0
    half = float(t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return Difference(mean=mean, low=mean - half, high=mean + half)
