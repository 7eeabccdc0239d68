import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubtune.errors import ConfigurationError
from hubtune.selection.budget import Budget


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (3, Budget(models=3)),
        ("2", Budget(models=2)),
        ("1 model", Budget(models=1)),
        ("60s", Budget(seconds=60)),
        ("1.5 min", Budget(seconds=90)),
        ("2000 passes", Budget(passes=2000)),
        ("1e6 forward passes", Budget(passes=1_000_000)),
        (" 3 models , 5 MIN, 10 passes", Budget(models=3, seconds=300, passes=10)),
    ],
)
def test_a_budget_is_read_as_a_user_writes_it(written, meant):
    assert Budget.parse(written) == meant
    assert Budget.parse(meant) is meant


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_what_is_shown_reads_back(models, seconds, passes):
    budget = Budget(models=models, seconds=seconds, passes=passes)
    assert Budget.parse(f"{models} models, {seconds} s, {passes} passes") == budget


@pytest.mark.parametrize("wrong", ["", "many", "3 apples", "s", "2,3", "60s, 1 min", "1.5", "1.5 passes", "two", "1e400", None, True, 2.0])
def test_what_is_no_budget_is_refused_with_what_is(wrong):
    with pytest.raises(ConfigurationError, match=r"budget"):
        Budget.parse(wrong)


@pytest.mark.parametrize("wrong", ["0s", "-5 s", "0 passes", "-3 passes"])
def test_a_limit_is_above_zero(wrong):
    with pytest.raises(ConfigurationError, match="expected"):
        Budget.parse(wrong)


@pytest.mark.parametrize("models", [0, -1, 4])
def test_picks_are_between_one_and_the_pool(models):
    with pytest.raises(ConfigurationError, match="expected 1 to 3"):
        Budget.parse(models).picks(3)


def test_a_limit_alone_picks_two_or_the_whole_hub():
    assert Budget.parse("60s").picks(5) == 2
    assert Budget.parse("60s").picks(1) == 1
