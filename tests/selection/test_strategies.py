import pytest

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.hub import ModelCard
from hubtune.selection.halving import TUNED
from hubtune.selection.mean_rank import MeanRank
from hubtune.selection.meta_learned import PREDICTED
from hubtune.selection.strategies import STRATEGIES, strategy_named


def card(name, params=100, accuracy=None, dataset=None, images=None):
    return ModelCard(
        name=name, source=f"test:{name}", architecture="net", params=params, input_size=32,
        upstream_accuracy=accuracy, upstream_dataset=dataset, upstream_images=images,
    )  # fmt: skip


IMAGENET = [
    card("small", 10, 0.70, "ImageNet-1k", 1_281_167),
    card("good", 20, 0.76, "ImageNet-1k", 1_281_167),
    card("expert", 30, 0.99, "birds", 50_000_000),
]
OTHERS = [card("few", 90, 0.9, "a", 10), card("many", 10, 0.2, "b", 1000), card("many-large", 20, 0.1, "c", 1000), card("unknown", 99)]
SCORES = {"small": {"linear": 0.5}, "good": {"linear": 0.4}, "expert": {"linear": 0.9}}


def test_task_agnostic_prefers_imagenet_accuracy_then_data_then_size():
    rank = STRATEGIES["task-agnostic"].rank
    assert rank(IMAGENET, {}, 1)[:2] == ["good", "small"]
    assert rank(OTHERS, {}, 1) == ["many-large", "many", "few", "unknown"]


def test_a_proxy_ranks_by_its_score_and_leaves_out_what_has_none():
    assert STRATEGIES["linear"].rank(IMAGENET, SCORES, 1) == ["expert", "small", "good"]
    assert STRATEGIES["linear"].rank(IMAGENET, {"good": {"linear": 0.1}}, 1) == ["good"]


def test_ties_fall_to_the_larger_model():
    tied = {name: {"linear": 0.5} for name in SCORES}
    assert STRATEGIES["linear"].rank(IMAGENET, tied, 1) == ["expert", "good", "small"]


def test_hybrid_takes_one_agnostic_pick_then_the_proxys():
    assert STRATEGIES["hybrid-linear"].rank(IMAGENET, SCORES, 2)[:2] == ["good", "expert"]


def test_hybrid_with_a_budget_of_one_is_the_proxys_pick():
    assert STRATEGIES["hybrid-linear"].rank(IMAGENET, SCORES, 1)[0] == "expert"


def test_hybrid_names_distinct_models_where_both_agree():
    agreed = {**SCORES, "good": {"linear": 0.95}}
    assert STRATEGIES["hybrid-linear"].rank(IMAGENET, agreed, 2)[:2] == ["good", "expert"]


def test_hybrid_does_not_pick_a_model_that_could_not_be_scored():
    failed = {name: scores for name, scores in SCORES.items() if name != "good"}
    assert STRATEGIES["hybrid-linear"].rank(IMAGENET, failed, 2) == ["small", "expert"]


def test_mean_rank_joins_rankings_of_any_scale():
    scores = {"small": {"knn": 0.9, "logme": -70.0}, "good": {"knn": 0.8, "logme": 3.0}, "expert": {"knn": 0.2, "logme": 2.0}}
    rank = MeanRank(proxies=("knn", "logme")).rank
    assert rank(IMAGENET, scores, 1) == ["good", "small", "expert"]  # places 2 + 1, 1 + 3, 3 + 2
    # Level models share a place, and the larger one comes first.
    level = {name: {"knn": 0.5, "logme": 1.0} for name in scores}
    assert rank(IMAGENET, level, 1) == ["expert", "good", "small"]
    assert rank(IMAGENET, {**scores, "good": {"knn": 1.0}}, 1) == ["expert", "small"]


@pytest.mark.parametrize("proxies", [(), "knn"])
def test_mean_rank_needs_a_tuple_of_proxies(proxies):
    with pytest.raises(ConfigurationError, match="expected a tuple"):
        MeanRank(proxies=proxies)


def test_random_depends_on_the_seed_alone():
    rank = STRATEGIES["random"].rank
    assert rank(OTHERS, {}, 2, seed=3) == rank(OTHERS[::-1], {}, 2, seed=3)
    assert len({tuple(rank(OTHERS, {}, 2, seed=seed)) for seed in range(20)}) > 5


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_ranks_distinct_models_of_the_pool(name):
    strategy = STRATEGIES[name]
    scores = {c.name: {proxy: 0.1 * i for proxy in (*(strategy.proxies or [TUNED]), PREDICTED)} for i, c in enumerate(IMAGENET)}
    for budget in (1, 2, 3):
        ranked = strategy.rank(IMAGENET, scores, budget, seed=1)
        assert sorted(ranked) == sorted(c.name for c in IMAGENET)
        assert ranked == strategy.rank(IMAGENET[::-1], scores, budget, seed=1)
    assert strategy.name == name


def test_an_unknown_name_comes_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'hybrid-linear'"):
        strategy_named("hybrid-linaer")
