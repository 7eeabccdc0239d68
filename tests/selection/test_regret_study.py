"""Regret of strategies: laws that any table obeys, and the paper's pools and figures on a small one."""

import itertools
import json
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hubtune
from hubtune.errors import ConfigurationError, DataError, UnknownNameError
from hubtune.selection.regret_study import regret

IMAGENET = {"upstream_dataset": "ImageNet-1k", "pretraining": "ImageNet-1k"}
CARDS = {
    "generalist": {**IMAGENET, "upstream_accuracy": 0.7, "params": 100},
    "large": {**IMAGENET, "upstream_accuracy": 0.8, "params": 300},
    "flowers": {"pretraining": "JFT flowers", "params": 200, "upstream_images": 10},
    "animals": {"pretraining": "JFT animals", "params": 200, "upstream_images": 20},
}
ACCURACIES = {
    "dogs": {"generalist": 0.7, "large": 0.8, "flowers": 0.5, "animals": 0.9},
    "roses": {"generalist": 0.6, "large": 0.7, "flowers": 0.95, "animals": 0.4},
    "roads": {"generalist": 0.5, "large": 0.6, "flowers": 0.1, "animals": 0.2},
}
LINEAR = {  # right on dogs and roses, wrong on roads
    "dogs": {"generalist": 0.6, "large": 0.7, "flowers": 0.4, "animals": 0.8},
    "roses": {"generalist": 0.6, "large": 0.7, "flowers": 0.8, "animals": 0.4},
    "roads": {"generalist": 0.3, "large": 0.1, "flowers": 0.2, "animals": 0.4},
}


def rows(accuracies=ACCURACIES, linear=LINEAR, cards=CARDS):
    return [
        {"model": model, "task": task, "accuracy": accuracy, "linear": linear[task][model], **cards.get(model, {})}
        for task, models in accuracies.items()
        for model, accuracy in models.items()
    ]


def of(study, strategy, budget, task=None, pool="All", key="relative"):
    found = study.means if task is None else study.rows
    return next(
        row[key]
        for row in found
        if (row["pool"], row["strategy"], row["budget"]) == (pool, strategy, budget) and task in (None, row.get("task"))
    )


def test_every_strategy_that_the_columns_allow():
    study = regret(rows())
    assert study.strategies == ("task-agnostic", "linear", "hybrid-linear", "oracle", "oracle-held-out", "random")
    bare = regret([{key: row[key] for key in ("model", "task", "accuracy")} for row in rows()])
    assert bare.strategies == ("oracle", "oracle-held-out", "random")
    assert any("no task-agnostic and no hybrid strategy" in note for note in bare.notes)
    assert any("no column of scores" in note for note in bare.notes)


def many(tasks=5, models=4, proxy="loo-ridge"):
    """Tasks on which a model's accuracy is what its score says, and from task to task another model is best."""
    return [
        {"model": f"m{i}", "task": f"t{j}", "accuracy": accuracy, proxy: accuracy, "params": 10, "classes": 2, "images": 50}
        for j in range(tasks)
        for i in range(models)
        for accuracy in [(3 + (5 * i + 3 * j) % 7) / 10]
    ]


def test_accuracies_predicted_from_the_other_tasks_rank_too():
    study = regret(many(), budget=2)
    assert study.strategies == ("loo-ridge", "meta-learned", "meta-learned-cards", "oracle", "oracle-held-out", "random")
    assert of(study, "meta-learned", 1) == 0
    # The cards tell nothing apart; past runs do, as far as a model's lead lasts.
    assert of(study, "meta-learned-cards", 1) > 0
    # What a task's own accuracies are does not matter to its prediction.
    other = [row | ({"accuracy": 1 - row["accuracy"]} if row["task"] == "t0" else {}) for row in many()]
    assert of(regret(other, budget=1), "meta-learned", 1, "t0", key="picks") == of(study, "meta-learned", 1, "t0", key="picks")


def test_without_a_proxy_that_it_reads_only_cards_predict():
    study = regret(many(proxy="hunch"), budget=1)
    assert "meta-learned" not in study.strategies
    assert "meta-learned-cards" in study.strategies
    assert any("no meta-learned strategy" in note for note in regret(many(tasks=3), budget=1).notes)


def test_scores_stand_beside_the_number_of_features():
    cards = {model: {**card, "feature_dim": 8 * place} for place, (model, card) in enumerate(CARDS.items(), 1)}
    found = regret(rows(cards=cards)).dimensions
    assert {"model": "large", "task": "roads", "feature_dim": 16, "accuracy": 0.6, "linear": 0.1, "pool": "All"} in found
    assert len(found) == 12
    assert regret(rows()).dimensions == []


def test_numbers_by_hand():
    study = regret(rows(), budget=2)
    assert of(study, "task-agnostic", 1, "dogs", key="picks") == ["large"]
    assert of(study, "task-agnostic", 1, "dogs", key="absolute") == pytest.approx(0.1)
    assert of(study, "task-agnostic", 1, "dogs") == pytest.approx(0.1 / 0.2)
    assert of(study, "linear", 1, "roads") == pytest.approx(0.4 / 0.8)
    # The hybrid is the proxy's pick at B = 1, and joins the task-agnostic one at B = 2.
    assert of(study, "hybrid-linear", 1, "roads", key="picks") == ["animals"]
    assert of(study, "hybrid-linear", 2, "roads", key="picks") == ["large", "animals"]
    assert [of(study, "hybrid-linear", 2, key=key) for key in ("absolute", "relative", "optimal")] == [0, 0, 1]
    assert of(study, "linear", 2, key="optimal") == pytest.approx(2 / 3)


def test_oracles_with_and_without_the_task_at_hand():
    study = regret(rows(), budget=1)
    # Means over all tasks: large 0.7 wins. Without roses animals and large are level on the rest, flowers last.
    assert of(study, "oracle", 1, "roses", key="picks") == ["large"]
    assert of(study, "oracle-held-out", 1, "dogs", key="picks") == ["large"]
    skewed = {**ACCURACIES, "roses": {**ACCURACIES["roses"], "flowers": 1.0}, "dogs": {**ACCURACIES["dogs"], "flowers": 0.9}}
    study = regret(rows(skewed), budget=1)
    assert of(study, "oracle", 1, "roads", key="picks") == ["large"]
    assert of(study, "oracle-held-out", 1, "roads", key="picks") == ["flowers"]


def test_one_task_leaves_nothing_for_the_held_out_oracle():
    study = regret(rows({"dogs": ACCURACIES["dogs"]}))
    assert {row["strategy"] for row in study.rows} == {"task-agnostic", "linear", "hybrid-linear", "oracle", "random"}
    assert any("oracle-held-out" in note and "accuracies on another task" in note for note in study.notes)


tables = st.lists(st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=4, max_size=4), min_size=2, max_size=3)


@settings(max_examples=25)
@given(tables, tables)
def test_laws(accuracies, scores):
    as_table = [{f"t{i}": dict(zip(CARDS, values, strict=True)) for i, values in enumerate(t)} for t in (accuracies, scores * 2)]
    study = regret(rows(*as_table), budget=4, log_odds=True)
    by_strategy: dict = {}
    for row in study.rows:
        assert 0 <= row["relative"] <= 1
        assert 0 <= row["absolute"] <= row["relative"] + 1e-12
        assert row["log_odds"] >= 0
        # No regret and an optimal pick are the same, up to rounding in expectations.
        assert (row["optimal"] > 1 - 1e-12) == (row["absolute"] < 1e-12)
        if row["strategy"] != "random":
            assert len(set(row["picks"])) == row["budget"]
            assert row["accuracy"] == max(as_table[0][row["task"]][model] for model in row["picks"])
        by_strategy.setdefault((row["strategy"], row["task"]), []).append(row)
    for (strategy, _), found in by_strategy.items():
        assert found[-1]["absolute"] == pytest.approx(0, abs=1e-12)
        if not strategy.startswith("hybrid"):  # the first pick of a hybrid changes from B = 1 to B = 2
            assert all(a["absolute"] >= b["absolute"] - 1e-12 for a, b in itertools.pairwise(found))
    for row in study.deltas:
        ends = [of(study, row[end], row["budget"], row["task"], key="accuracy") for end in ("first", "second")]
        assert (row["relative"] > 0) == (ends[0] > ends[1])
        assert abs(row["relative"]) <= 1


def test_random_is_the_mean_over_all_draws():
    study = regret(rows(), budget=3)
    for task, budget in itertools.product(ACCURACIES, (1, 2, 3)):
        values = ACCURACIES[task]
        draws = [max(values[m] for m in draw) for draw in itertools.combinations(values, budget)]
        assert of(study, "random", budget, task, key="accuracy") == pytest.approx(mean(draws))
        assert of(study, "random", budget, task, key="optimal") == pytest.approx(mean(d == max(values.values()) for d in draws))


def test_pools_by_name_by_condition_and_by_mapping():
    study = regret(rows(), pools=["pool:Expert", "small=params <= 200", "params > 100 and pretraining like 'JFT%'", "pool:All"], budget=2)
    assert [(pool["name"], pool["models"]) for pool in study.pools] == [
        ("Expert", ["flowers", "animals"]),
        ("small", ["generalist", "flowers", "animals"]),
        ("params > 100 and pretraining like 'JFT%'", ["flowers", "animals"]),
        ("All", list(CARDS)),
    ]
    # Within a pool only its own best counts: of experts on roads the best is at 0.2.
    assert of(study, "linear", 1, "roads", pool="Expert", key="absolute") == 0
    assert regret(rows(), pools={"Expert": "pool:Expert"}).pools[0]["models"] == ["flowers", "animals"]
    imagenet = regret(rows(), pools=["pool:ImNetAccuracies"])
    assert of(imagenet, "task-agnostic", 1, pool="ImNetAccuracies") == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0}, ConfigurationError, "budget 0 cannot be met: pool 'All' has 4 models"),
        ({"budget": -1}, ConfigurationError, "expected a whole number from 1 to 4"),
        ({"budget": 5}, ConfigurationError, "expected a whole number from 1 to 4"),
        ({"budget": 3, "pools": ["pool:Expert"]}, ConfigurationError, "pool 'Expert' has 2 models"),
        ({"pools": ["params > 250"]}, ConfigurationError, "holds 1 of the table's 4 models"),
        ({"pools": ["flops < 10"]}, ConfigurationError, "no such column: flops"),
        ({"pools": ["param=100"]}, ConfigurationError, "did you mean 'params'"),
        ({"pools": ["a=params < 300", "a=params < 301"]}, ConfigurationError, "two pools are called 'a'"),
        ({"pools": ["pool:Experts"]}, UnknownNameError, "did you mean 'Expert'"),
        ({"scores": ["lineer"]}, UnknownNameError, "did you mean 'linear'"),
    ],
)
def test_what_cannot_be_asked(options, error, message):
    with pytest.raises(error, match=message):
        regret(rows(), **options)


def test_a_column_called_as_a_strategy_is_refused():
    with pytest.raises(DataError, match="called random, as strategies are: rename"):
        regret([row | {"random": i} for i, row in enumerate(rows())])


def test_a_gap_in_a_score_leaves_the_strategy_out_of_that_task_and_says_so():
    study = regret([row | ({"linear": None} if (row["model"], row["task"]) == ("large", "dogs") else {}) for row in rows()])
    assert any("linear" in note and "dogs (large)" in note for note in study.notes)
    assert {row["task"] for row in study.rows if row["strategy"] in ("linear", "hybrid-linear")} == {"roses", "roads"}
    assert of(study, "linear", 1, key="tasks") == 2
    assert of(study, "task-agnostic", 1, key="tasks") == 3


def test_a_model_takes_no_part_in_a_task_it_was_not_trained_on():
    gone = [row for row in rows() if (row["model"], row["task"]) != ("animals", "dogs")]
    study = regret(gone, budget=4)
    assert of(study, "linear", 1, "dogs", key="absolute") == 0  # animals was the best, large is the best of the rest
    assert of(study, "random", 4, "dogs", key="absolute") == 0
    assert any("fewer models than the budget" in note and "dogs" in note for note in study.notes)
    alone = [row for row in rows() if row["task"] != "roads" or row["model"] == "large"]
    study = regret(alone)
    assert {row["task"] for row in study.rows} == {"dogs", "roses"}
    assert any("left out" in note and "roads" in note for note in study.notes)


def test_a_missing_hard_task_gives_the_oracle_no_wrong_idea():
    accuracies = {"easy": {"a": 0.90, "b": 0.95}, "hard": {"a": 0.30, "b": 0.35}, "other": {"a": 0.5, "b": 0.6, "c": 0.55}}
    accuracies["easy"]["c"] = 0.91  # c was spared the hard task; its mean accuracy is the highest, its lead is not
    table = [{"model": m, "task": t, "accuracy": a} for t, models in accuracies.items() for m, a in models.items()]
    assert of(regret(table), "oracle", 1, "other", key="picks") == ["b"]


def test_log_odds_only_where_asked_and_a_study_is_json():
    assert "log_odds" not in regret(rows()).rows[0]
    study = hubtune.regret(rows(), log_odds=True, budget=1)
    assert of(study, "task-agnostic", 1, "dogs", key="log_odds") == pytest.approx(0.8109302, abs=1e-6)  # ln 9 - ln 4
    assert json.loads(json.dumps(study.to_dict())) == study.to_dict()
    assert study.measures == ("absolute", "relative", "log_odds")
    certain = regret([row | {"accuracy": round(row["accuracy"])} for row in rows()], log_odds=True)
    assert all(0 <= row["log_odds"] < 14 for row in certain.rows)
