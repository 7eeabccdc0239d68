import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.selection.halving import TUNED, FewSteps, SuccessiveHalving
from hubtune.selection.rounds import Round, images, part, passes_of, spread, within
from hubtune.selection.strategies import strategy_for, strategy_named


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_every_beginning_holds_the_classes_in_their_proportions(targets, data):
    order = spread(torch.tensor(targets))
    assert sorted(order.tolist()) == list(range(len(targets)))
    n = data.draw(st.integers(1, len(targets)))
    for c in set(targets):
        seen = sum(targets[row] == c for row in order[:n])
        assert abs(seen - n * targets.count(c) / len(targets)) <= len(set(targets))


def test_what_has_no_classes_keeps_its_order():
    assert spread(torch.tensor([0.3, 0.1, 0.2])).tolist() == [0, 1, 2]


def test_parts_are_nested_and_keep_two_images_a_class(task):
    small, large = part(task, 0.01), part(task, 0.5)
    assert len(small.train) == 6
    assert len(small.val) == 3
    assert torch.bincount(small.train.targets).tolist() == [2, 2, 2]
    assert set(small.train.ids) <= set(large.train.ids)
    assert part(task, 1.0) is task
    assert images(task, 0.5) == 18 + 9
    assert images(task, 0.5, validation=False) == 18


def test_a_rare_class_is_in_every_part(task):
    train = task.train.select(range(36))
    train.targets = torch.tensor([0] * 33 + [1] * 2 + [2])
    uneven = dataclasses.replace(task, train=train)
    assert torch.bincount(part(uneven, 0.01).train.targets).tolist() == [3, 2, 1]
    small, large = part(uneven, 0.3), part(uneven, 0.6)
    assert torch.bincount(small.train.targets).tolist() == [7, 2, 1]
    assert set(small.train.ids) <= set(large.train.ids)


def test_passes_count_new_images_of_the_models_that_are_left(task):
    rounds = [Round(share=0.5, keep=2), Round(share=1.0, keep=1)]
    assert passes_of(rounds, task, 4) == 4 * 27 + 2 * 27
    assert passes_of([Round(share=1.0, keep=4)], task, 4) == 4 * 54


@pytest.mark.parametrize("passes", [36, 37, 50, 100, 161, 162, 163, 500])
def test_rounds_fit_into_any_number_of_passes_that_can_work(task, passes):
    fitted = within([Round(share=0.5, keep=2), Round(share=1.0, keep=2)], task, 4, passes, True)
    assert passes_of(fitted, task, 4) <= passes


def test_too_few_passes_are_refused_with_the_least(task):
    with pytest.raises(ConfigurationError, match="expected at least 36"):
        within([Round(share=1.0, keep=4)], task, 4, 35, True)


def test_halving_compares_fewer_models_on_more_images():
    rounds = SuccessiveHalving().rounds(12, 2)
    assert [(one.share, one.keep) for one in rounds] == [(0.125, 6), (0.25, 3), (0.5, 3), (1.0, 3)]
    tuned = SuccessiveHalving(first=1.0, margin=4, steps=(5, 10)).rounds(12, 2)
    assert [(one.steps, one.keep) for one in tuned] == [(0, 6), (5, 3), (10, 2)]


@given(st.integers(1, 2000), st.data())
def test_halving_never_keeps_fewer_than_the_budget_and_ends_with_everything(models, data):
    budget = data.draw(st.integers(1, models))
    rounds = SuccessiveHalving(reduction=data.draw(st.integers(2, 4)), margin=data.draw(st.integers(0, 3))).rounds(models, budget)
    assert all(one.keep >= budget for one in rounds)
    assert rounds[-1].share == 1
    assert [one.keep for one in rounds] == sorted((one.keep for one in rounds), reverse=True)


def test_wrong_fields_of_halving_are_named_at_once():
    with pytest.raises(ConfigurationError, match=r"(?s)first = 0.*reduction = 1.*margin = -1.*steps = \(4, 2\)"):
        SuccessiveHalving(first=0, reduction=1, margin=-1, steps=(4, 2))
    with pytest.raises(UnknownNameError, match="did you mean"):
        SuccessiveHalving(proxy="logmee")


def test_few_steps_halve_the_models_and_refuse_what_cannot_work():
    assert [(one.steps, one.keep, one.share) for one in FewSteps().rounds(12, 2)] == [(25, 6, 1.0), (50, 3, 1.0), (100, 3, 1.0)]
    assert [one.keep for one in FewSteps().rounds(4, 2)] == [3, 3, 3]
    assert FewSteps().proxies == ()
    assert strategy_named("few-steps", {"steps": "5,10", "reduction": "3"}) == FewSteps(steps=(5, 10), reduction=3)
    for wrong, told in (
        ({"steps": ()}, "at least one number"),
        ({"steps": (4, 2)}, "that grow"),
        ({"reduction": 1}, "reduction = 1"),
        ({"margin": -1}, "margin = -1"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            FewSteps(**wrong)


def test_classes_are_searched_by_hybrid_linear_unless_told_otherwise(task):
    assert strategy_for(task, "auto").name == "hybrid-linear"
    assert strategy_for(task, "knn").name == "knn"
    assert strategy_for(task, FewSteps()) == FewSteps()


def test_steps_of_fine_tuning_outrank_the_proxy(hub):
    scores = {"resnet-a": {"loo-ridge": 0.9, TUNED: 0.1}, "vit": {"loo-ridge": 0.1, TUNED: 0.9}}
    assert SuccessiveHalving().rank(list(hub), scores, 1) == ["vit", "resnet-a"]
