"""Paired differences: what they reduce to, and how often their intervals hold the truth."""

import numpy as np
import pytest
from scipy import stats

from hubtune.errors import ConfigurationError
from hubtune.workflow.paired import paired_difference


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", [(6, 1), (1, 6)])
def test_one_image_or_one_seed_is_the_paired_t_interval(shape):
    a, b = numbers(*shape), numbers(*shape, seed=1)
    found = paired_difference(a, b)
    expected = stats.ttest_rel(a.ravel(), b.ravel()).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((a - b).mean())


def test_equal_methods_do_not_differ_and_one_number_has_no_interval():
    right = numbers(3, 20) > 0
    same = paired_difference(right, right)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    one = paired_difference(np.array([[0.8]]), np.array([[0.6]]))
    assert (one.mean, one.low, one.high) == (pytest.approx(0.2), None, None)


def test_turning_the_question_round_turns_the_answer_round():
    a, b = numbers(4, 30), numbers(4, 30, seed=2)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))


@pytest.mark.parametrize(("of_seeds", "of_images"), [(0.0, 1.0), (1.0, 0.2), (0.5, 0.5)])
def test_the_interval_holds_the_truth_as_often_as_it_says(of_seeds, of_images):
    generator, held, tries = np.random.default_rng(7), 0, 400
    for _ in range(tries):
        seeds, images = of_seeds * generator.normal(size=(4, 1)), of_images * generator.normal(size=(1, 40))
        found = paired_difference(0.3 + seeds + images + 0.5 * generator.normal(size=(4, 40)), np.zeros((4, 40)))
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / tries <= 0.995


@pytest.mark.wrong_shapes
@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((0, 3), (0, 3))])
def test_what_does_not_fit_is_said(shapes):
    with pytest.raises(ConfigurationError, match="expected two equal shapes"):
        paired_difference(*map(np.zeros, shapes))
