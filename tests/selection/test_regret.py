import itertools
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubtune.selection.regret import absolute_regret, expected_best_of_random, expected_random_regret, relative_delta, relative_regret

accuracies = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=2, max_size=6)


@given(accuracies)
def test_regret_is_zero_for_the_best_model_and_never_negative(table):
    best = max(table, key=table.get)
    assert absolute_regret(table, [best]) == relative_regret(table, [best]) == 0
    for name in table:
        assert 0 <= absolute_regret(table, [name]) <= 1
        assert 0 <= relative_regret(table, [name]) <= 1


@given(accuracies, st.data())
def test_a_larger_budget_never_adds_regret(table, data):
    order = data.draw(st.permutations(sorted(table)))
    regrets = [relative_regret(table, order[: i + 1]) for i in range(len(order))]
    assert all(more <= less + 1e-12 for less, more in itertools.pairwise(regrets))  # but for rounding
    assert regrets[-1] == 0


@given(accuracies, st.data())
def test_random_is_the_mean_over_all_subsets(table, data):
    budget = data.draw(st.integers(1, len(table)))
    subsets = list(itertools.combinations(table, budget))
    absolute, relative = expected_random_regret(table, budget)
    assert absolute == pytest.approx(mean(absolute_regret(table, s) for s in subsets))
    assert relative == pytest.approx(mean(relative_regret(table, s) for s in subsets))
    assert expected_best_of_random(table, budget) == pytest.approx(mean(max(table[n] for n in s) for s in subsets))


def test_the_relative_delta_is_equation_2():
    assert relative_delta(0.9, 0.8) == pytest.approx(0.1 / 0.2)
    assert relative_delta(0.8, 0.9) == pytest.approx(-0.1 / 0.2)
    assert relative_delta(1.0, 1.0) == 0
