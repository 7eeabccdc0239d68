"""What it costs not to have fine-tuned everything.

Source: Renggli et al. (2021), section 3, Equations 1 and 2.
"""

from collections.abc import Mapping, Sequence
from math import comb


def absolute_regret(accuracies: Mapping[str, float], picks: Sequence[str]) -> float:
    """The best model's accuracy minus the best pick's (Equation 1).

    Args:
        accuracies: fine-tuned test accuracy in [0, 1] of every model of the pool.
        picks: names of the models that a strategy picked.

    Returns:
        A value in [0, 1]; 0 where a best model was picked.
    """
    return max(accuracies.values()) - max(accuracies[name] for name in picks)


def relative_delta(first: float, second: float) -> float:
    """``(s1 - s2) / (1 - min(s1, s2))`` (Equation 2), in [-1, 1]; 0 where both accuracies are 1."""
    room = 1 - min(first, second)
    return 0.0 if room == 0 else (first - second) / room


def relative_regret(accuracies: Mapping[str, float], picks: Sequence[str]) -> float:
    """The relative delta between the pool's best model and the best pick."""
    return relative_delta(max(accuracies.values()), max(accuracies[name] for name in picks))


def expected_best_of_random(accuracies: Mapping[str, float], budget: int) -> float:
    """The exact expectation of the best accuracy among ``budget`` models drawn without replacement.

    With accuracies sorted upwards a_1 <= ... <= a_K, the best of B is a_i with probability C(i - 1, B - 1) / C(K, B).
    """
    ascending = sorted(accuracies.values())
    ways = comb(len(ascending), budget)
    return sum(value * comb(i, budget - 1) / ways for i, value in enumerate(ascending))


def expected_random_regret(accuracies: Mapping[str, float], budget: int) -> tuple[float, float]:
    """Absolute and relative regret of the random strategy in exact expectation.

    The relative regret is the expectation of the ratio, not the ratio of expectations.
    """
    ascending = sorted(accuracies.values())
    best = ascending[-1]
    ways = comb(len(ascending), budget)
    weights = [comb(i, budget - 1) / ways for i in range(len(ascending))]
    absolute = sum(w * (best - value) for w, value in zip(weights, ascending, strict=True))
    relative = sum(w * relative_delta(best, value) for w, value in zip(weights, ascending, strict=True))
    return absolute, relative
