"""Methods and strategies as they describe themselves."""

import dataclasses

import pytest

from hubtune.errors import UnknownNameError
from hubtune.selection import STRATEGIES
from hubtune.workflow import METHODS, method_named
from hubtune.workflow.describing import (
    describe_method,
    describe_methods,
    describe_policy_method,
    describe_policy_methods,
    describe_strategies,
    describe_strategy,
    field_docs,
)


@pytest.mark.parametrize("found", [*describe_methods(), *describe_policy_methods(), *describe_strategies()], ids=lambda found: found.name)
def test_each_says_what_it_does_and_what_can_be_set(found):
    assert found.about.endswith(".")
    assert "\n" not in found.about
    for field in found.fields:
        assert field.about, f"{field.name} of {found.name} has no docstring"
        assert "..., ..." not in field.type


def test_all_of_the_tables_are_there():
    assert [found.name for found in describe_methods()] == list(METHODS)
    assert [found.name for found in describe_strategies()] == ["auto", *STRATEGIES]


@pytest.mark.parametrize("name", METHODS)
def test_fields_are_those_that_can_be_set(name):
    fields = {field.name: field.default for field in describe_method(name).fields}
    made = method_named(name, {key: value for key, value in fields.items() if value is not dataclasses.MISSING})
    assert {field.name for field in dataclasses.fields(made)} == set(fields)
    assert made == method_named(name)


def test_what_a_method_adds_comes_first():
    names = [field.name for field in describe_method("hub-pathway").fields]
    assert names.index("top_k") < names.index("steps")
    types = {field.name: field.type for field in describe_method("hub-pathway").fields}
    assert types["top_k"] == "whole number"
    assert types["learning_rates"] == "auto | number, ..."
    assert types["exploit"] == "true | false"


def test_a_class_of_ones_own_without_source():
    made = dataclasses.make_dataclass("Made", [("x", int, 1)])
    assert field_docs(made) == {}


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="did you mean 'fm'"):
        describe_method("fmm")
    with pytest.raises(UnknownNameError, match="knn"):
        describe_strategy("knnn")
    with pytest.raises(UnknownNameError, match="did you mean 'scratch'"):
        describe_policy_method("scrach")
    assert describe_strategy("hybrid-knn").fields == ()
