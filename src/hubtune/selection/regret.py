"""What it costs not to have fine-tuned everything.

Source: Renggli et al. (2021), section 3, Equations 1 and 2; section 5.4 for the log-odds.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import comb, log

LEAST_ODDS = 1e-3
"""Accuracies this near to 0 and 1 count as this far from them in log-odds, which are infinite at the ends."""


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


def log_odds_delta(first: float, second: float) -> float:
    """``logit(s1) - logit(s2)`` with ``logit(s) = log(s / (1 - s))``, in nats; accuracies are kept ``LEAST_ODDS`` away from 0 and 1.

    Source: Kornblith et al. (2019), section 3; Renggli et al. (2021), section 5.4.
    """

    def logit(accuracy: float) -> float:
        kept = min(max(accuracy, LEAST_ODDS), 1 - LEAST_ODDS)
        return log(kept / (1 - kept))

    return logit(first) - logit(second)


def relative_regret(accuracies: Mapping[str, float], picks: Sequence[str]) -> float:
    """The relative delta between the pool's best model and the best pick."""
    return relative_delta(max(accuracies.values()), max(accuracies[name] for name in picks))


def best_of_random(accuracies: Mapping[str, float], budget: int) -> Iterator[tuple[float, float]]:
    """The distribution of the best accuracy among ``budget`` models drawn without replacement: pairs of accuracy and probability.

    With accuracies sorted upwards a_1 <= ... <= a_K, the best of B is a_i with probability C(i - 1, B - 1) / C(K, B).
    """
    ways = comb(len(accuracies), budget)
    return ((value, comb(i, budget - 1) / ways) for i, value in enumerate(sorted(accuracies.values())))


def expected_best_of_random(accuracies: Mapping[str, float], budget: int) -> float:
    """The exact expectation of the best accuracy among ``budget`` models drawn without replacement."""
    return sum(value * probability for value, probability in best_of_random(accuracies, budget))


def expected_random_regret(accuracies: Mapping[str, float], budget: int) -> tuple[float, float]:
    """Absolute and relative regret of the random strategy in exact expectation.

    The relative regret is the expectation of the ratio, not the ratio of expectations.
    """
    best = max(accuracies.values())
    absolute = sum(probability * (best - value) for value, probability in best_of_random(accuracies, budget))
    relative = sum(probability * relative_delta(best, value) for value, probability in best_of_random(accuracies, budget))
    return absolute, relative
