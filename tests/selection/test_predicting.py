"""Predictions are judged on tasks made by a law that the tests know."""

import itertools

import numpy as np
import pytest

from hubtune.hub import ModelCard
from hubtune.selection.past_runs import PastRun
from hubtune.selection.predicting import PredictionError, TaskFacts, accuracy_of, log_odds, predict

FACTS = TaskFacts(classes=10, train=800)


def card(name, params=1000):
    return ModelCard(name=name, source="test", architecture="net", params=params, flops=10 * params, input_size=32)


def draw(tasks, models, seed, noise=0.3):
    """Log-odds of fine-tuning are those of the linear probe, a task's own gain, a model's own gain, and noise."""
    rng = np.random.default_rng(seed)
    gains = rng.normal(0, 0.5, models)
    runs = []
    for task in range(tasks):
        level = rng.normal(0, 1)
        linear = level + rng.normal(0, 1, models)
        odds = linear + 0.5 + gains + noise * rng.normal(size=models)
        for model in range(models):
            scores = {"linear": float(accuracy_of(linear[model])), "logme": float(linear[model] - level)}
            facts = {"classes": 10, "train": 800, "card": {"params": 1000 + model}}
            runs.append(PastRun(model=f"m{model}", task=f"t{task}", accuracy=float(accuracy_of(odds[model])), scores=scores, **facts))
    return runs


def ask(runs, task, proxies=("linear",)):
    """Predictions for one of the tasks from all others, and the truth."""
    own = [run for run in runs if run.task == task]
    scores = {run.model: {proxy: run.scores[proxy] for proxy in proxies} for run in own}
    found = predict([run for run in runs if run.task != task], FACTS, [card(run.model) for run in own], scores)
    return found, {run.model: run.accuracy for run in own}


@pytest.mark.parametrize("proxies", [("linear",), ("linear", "logme"), ("logme",), ()])
def test_intervals_hold_about_nine_in_ten_on_new_tasks(proxies):
    held = []
    for seed in range(20):
        runs = draw(9, 6, seed)
        found, truth = ask(runs, "t0", proxies)
        held += [low <= truth[name] <= high for name, (low, high) in found.interval.items()]
    assert 0.8 <= np.mean(held) <= 0.98


def test_a_telling_proxy_gives_narrower_intervals_than_cards_alone():
    runs = draw(8, 8, 0)
    widths = {}
    for proxies in (("linear",), ()):
        found, _ = ask(runs, "t0", proxies)
        widths[proxies] = np.mean([high - low for low, high in found.interval.values()])
    assert widths["linear",] < 0.7 * widths[()]


def test_intervals_contain_the_prediction_and_stay_accuracies():
    found, _ = ask(draw(6, 5, 1, noise=2.0), "t0")
    for name, (low, high) in found.interval.items():
        assert 0 <= low <= found.accuracy[name] <= high <= 1


def test_the_order_of_models_and_of_past_runs_does_not_matter():
    runs = draw(6, 5, 2)
    found, _ = ask(runs, "t0")
    turned, _ = ask(runs[::-1], "t0")
    for name in found.accuracy:
        assert turned.accuracy[name] == pytest.approx(found.accuracy[name])
        assert turned.interval[name] == pytest.approx(found.interval[name])


def test_a_model_that_always_did_better_is_expected_to_without_any_score():
    runs = draw(8, 6, 3)
    found, _ = ask(runs, "t0", ())
    leads = {}
    for task in {run.task for run in runs} - {"t0"}:
        odds = {run.model: log_odds(run.accuracy) for run in runs if run.task == task}
        for name, value in odds.items():
            leads.setdefault(name, []).append(value - np.mean(list(odds.values())))
    best = max(leads, key=lambda name: np.mean(leads[name]))
    assert found.accuracy[best] == max(found.accuracy.values())


def test_tasks_of_one_name_are_left_out_together():
    runs = draw(6, 5, 4)
    twins = [PastRun(**{**vars(run), "images": "twin"}) for run in runs]
    alone, _ = ask(runs, "t0")
    both, _ = ask(runs + twins, "t0")
    widths = [np.mean([high - low for low, high in found.interval.values()]) for found in (alone, both)]
    assert widths[1] > 0.8 * widths[0]


def test_too_few_past_runs_are_said():
    runs = draw(2, 8, 0)
    for few in ([], runs, draw(5, 1, 0)):
        with pytest.raises(PredictionError, match="expected at least 10 on 3"):
            predict(few, FACTS, [card("new")], {"new": {"linear": 0.5}})


def test_proxies_that_no_past_run_knows_fall_back_to_the_cards():
    runs = draw(6, 5, 0)
    found = predict(runs, FACTS, [card("new"), card("m0")], {"new": {"gbc": -1.0}, "m0": {"gbc": -2.0}})
    assert found.basis.endswith("by the cards")


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_constant_scores_gaps_and_unknown_facts_are_no_obstacle(constant):
    scores = {"linear": constant, "logme": 0.0}
    runs = [PastRun(model=run.model, task=run.task, accuracy=run.accuracy, scores=scores) for run in draw(5, 4, 0)]
    found = predict(runs, TaskFacts(classes=None, train=None), [card("new", 0)], {"new": {"linear": constant, "logme": 3.0}})
    low, high = found.interval["new"]
    assert 0 <= low <= found.accuracy["new"] <= high <= 1


def test_models_without_a_score_are_predicted_from_their_cards_and_regret_is_not():
    runs = draw(6, 5, 0)
    found = predict(runs, FACTS, [card("m0"), card("m1")], {"m0": {"linear": 0.9}})
    assert found.accuracy.keys() == {"m0", "m1"}
    assert found.expected_regret(["m0"]) is None


def test_expected_regret_is_that_of_independent_draws_around_the_predictions():
    found, _ = ask(draw(8, 4, 5), "t0")
    names = sorted(found.accuracy)
    odds = np.array([log_odds(found.accuracy[name]) for name in names])
    rng = np.random.default_rng(0)
    drawn = odds + rng.choice(found.deviations, (200_000, 4))
    shifted = accuracy_of(drawn + rng.choice(found.shifts, (200_000, 1)))
    for size in (1, 2, 3):
        for picks in itertools.combinations(range(4), size):
            expected = np.mean(shifted.max(1) - shifted[:, picks].max(1))
            assert found.expected_regret([names[i] for i in picks]) == pytest.approx(expected, abs=0.005)
    assert found.expected_regret(names) == 0


def test_more_picks_never_add_expected_regret():
    found, _ = ask(draw(8, 6, 6), "t0")
    ranked = sorted(found.accuracy, key=lambda name: -found.accuracy[name])
    regrets = [found.expected_regret(ranked[: i + 1]) for i in range(6)]
    assert regrets == sorted(regrets, reverse=True)
