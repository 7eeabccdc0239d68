"""What a search says beyond its picks, what it may spend, and what it needs to do again after a change."""

import dataclasses
import errno
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import hubtune as ht
from hubtune.engines import SideBySide
from hubtune.errors import ConfigurationError, DataError, RunError, SearchError, UnknownNameError
from hubtune.runs import cache_folder
from hubtune.selection import search, short_tuning, strategy_named
from hubtune.selection.halving import TUNED, FewSteps, SuccessiveHalving
from hubtune.selection.meta_learned import MetaLearned
from hubtune.selection.scoring import check_time
from hubtune.selection.short_tuning import ShortTuning

IMAGES = 36 + 18


def test_every_row_has_a_predicted_accuracy_with_an_interval(task, hub):
    ranking = search(hub, task, "linear", budget=2)
    for row in ranking.rows:
        assert 0 <= row["low"] <= row["predicted"] <= row["high"] <= 1
    assert 0 <= ranking.expected_regret <= 1
    assert any("72 past fine-tunings of 12 models on 6 tasks, by linear" in note for note in ranking.notes)
    assert search(hub, task, "linear", budget=3).expected_regret == 0


def test_without_past_runs_there_are_no_predictions_and_a_note_says_so(task, hub):
    ranking = search(hub, task, "linear", budget=2, past="none")
    assert all(row["predicted"] is row["low"] is row["high"] is None for row in ranking.rows)
    assert ranking.expected_regret is None
    assert any("no predicted accuracies" in note for note in ranking.notes)
    with pytest.raises(SearchError, match="meta-learned cannot predict"):
        search(hub, task, "meta-learned", past="none")


def test_predictions_do_not_change_what_other_strategies_pick(task, hub):
    assert search(hub, task, "linear", budget=3).picks.names == search(hub, task, "linear", budget=3, past="none").picks.names


def test_meta_learned_ranks_by_its_predictions(task, hub):
    ranking = search(hub, task, "meta-learned", budget=2)
    predicted = [row["predicted"] for row in ranking.rows]
    assert predicted == sorted(predicted, reverse=True)
    assert [row["score"] for row in ranking.rows] == predicted


def test_meta_learned_without_proxies_runs_no_model(task, hub):
    ranking = search(hub, task, MetaLearned(proxies=()), budget=2)
    assert ranking.forward_passes == 0
    assert all(row["predicted"] is not None for row in ranking.rows)


def test_runs_of_the_task_itself_are_never_learnt_from(task, hub, tmp_path):
    rows = [f"{model},{name},{0.1 * place + 0.05 * number}" for place, model in enumerate(hub.names) for number, name in enumerate("abcd")]
    path = tmp_path / "past.csv"
    path.write_text("\n".join(["model,task,accuracy", *rows]))
    before = search(hub, task, "task-agnostic", past=path)
    path.write_text("\n".join(["model,task,accuracy", *rows, *(f"{model},{task.name},0.99" for model in hub.names)]))
    after = search(hub, task, "task-agnostic", past=path)
    assert [row["predicted"] for row in after.rows] == [row["predicted"] for row in before.rows]


def test_fields_of_a_strategy_are_read_from_text():
    assert strategy_named("meta-learned", {"proxies": "none"}) == MetaLearned(proxies=())
    assert strategy_named("meta-learned", {"proxies": "linear,knn"}) == MetaLearned(proxies=("linear", "knn"))
    expected = SuccessiveHalving(proxy="logme", first=0.25, steps=(5, 10))
    assert strategy_named("successive-halving", {"proxy": "logme", "first": "0.25", "steps": "5,10"}) == expected
    with pytest.raises(UnknownNameError, match="did you mean 'proxies'"):
        strategy_named("meta-learned", {"proxis": "x"})
    with pytest.raises(ConfigurationError, match="first"):
        strategy_named("successive-halving", {"first": "much"})
    with pytest.raises(UnknownNameError, match="field of strategy linear"):
        strategy_named("linear", {"proxy": "knn"})


def test_a_strategy_of_ones_own_by_its_place():
    assert strategy_named("hubtune.selection.meta_learned:MetaLearned") == MetaLearned()
    with pytest.raises(UnknownNameError, match="cannot be imported"):
        strategy_named("hubtune.selection.meta_learned:MetaLearn")
    with pytest.raises(UnknownNameError, match="without name, proxies and rank"):
        strategy_named("hubtune.selection.budget:Budget")


def test_halving_runs_fewer_images_and_uses_the_cache(task, hub):
    halving = SuccessiveHalving(proxy="logme", first=0.5, margin=0)
    ranking = search(hub, task, halving, budget=1)
    # 18 of 36 training images in all three models, the other 18 in the two that go on.
    assert ranking.forward_passes == 3 * 18 + 2 * 18
    assert sorted(row["share"] for row in ranking.rows) == [0.5, 1.0, 1.0]
    assert search(hub, task, halving, budget=1).forward_passes == 0
    assert search(hub, task, "logme", budget=1).forward_passes == 18


def test_halving_that_eliminates_nobody_is_the_full_search(task, hub):
    halved = search(hub, task, SuccessiveHalving(proxy="logme", margin=3), budget=2)
    assert halved.picks.names == search(hub, task, "logme", budget=2).picks.names


def test_steps_of_fine_tuning_decide_among_those_that_are_left(task, hub):
    halving = SuccessiveHalving(proxy="logme", first=1.0, margin=2, steps=(3, 6))
    ranking = search(hub, task, halving, budget=1)
    tuned = {row["name"]: row["scores"][TUNED] for row in ranking.rows}
    assert len(tuned) == 3
    assert all(0 <= accuracy <= 1 for accuracy in tuned.values())
    assert search(hub, task, halving, budget=1).rows[0]["scores"] == ranking.rows[0]["scores"]


def test_a_model_that_fails_in_a_later_round_makes_room_for_one_that_was_out(task, hub, monkeypatch):
    train, failing = ShortTuning._train, {}

    def fails_later(self, name, hub, until, *more):
        if until > 1 and name in failing:
            raise RuntimeError("it broke")
        return train(self, name, hub, until, *more)

    monkeypatch.setattr(ShortTuning, "_train", fails_later)
    first = search(hub, task, FewSteps(steps=(1,), margin=0), budget=1)
    best, second, third = (row["name"] for row in first.rows)
    failing[best] = True
    ranking = search(hub, task, FewSteps(steps=(1, 2), margin=0), budget=2)
    assert [row["name"] for row in ranking.rows] == [second, third, best]
    assert "it broke" in ranking.rows[-1]["error"]
    assert ranking.picks.names == (second, third)
    failing[second] = True
    assert search(hub, task, FewSteps(steps=(1, 2, 3), margin=0), budget=1).picks.names == (third,)


def checkpoints():
    return list((cache_folder() / "trainings").rglob("*.pt"))


def test_a_search_by_steps_that_was_interrupted_goes_on_and_finds_the_same(task, hub, monkeypatch, tmp_path):
    strategy, whole = FewSteps(steps=(2, 4), margin=0), short_tuning.evaluate
    monkeypatch.setenv("HUBTUNE_CACHE", str(tmp_path / "undisturbed"))
    expected = search(hub, task, strategy, budget=2)
    assert not checkpoints()
    monkeypatch.setenv("HUBTUNE_CACHE", str(tmp_path / "interrupted"))
    looks = []

    def interrupted(*arguments):
        looks.append(None)
        if len(looks) in (2, 5):  # the second model of the first round, then the first one of the second round
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(short_tuning, "evaluate", interrupted)
    for begun in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            search(hub, task, strategy, budget=2)
        assert len(checkpoints()) == begun
    found = search(hub, task, strategy, budget=2)
    assert [(row["name"], row["scores"]) for row in found.rows] == [(row["name"], row["scores"]) for row in expected.rows]
    # What is left: two steps and a look at the validation images for each of the two models that go on.
    assert found.forward_passes == 2 * (2 * 32 + len(task.val))
    assert not checkpoints()
    assert search(hub, task, strategy, budget=2).forward_passes == 0


def test_a_training_that_time_cut_short_goes_on_from_there(task, hub, monkeypatch):
    name, whole = hub.names[0], ShortTuning(task=task, rounds=(3,))
    monkeypatch.setattr(short_tuning, "check_time", lambda deadline: None)
    late = dataclasses.replace(whole, deadline=time.time() - 1).score(name, hub=hub, until=3)
    assert late.late
    assert "step 1 of 3" in late.error
    found = whole.score(name, hub=hub, until=3)
    assert found.forward_passes == 2 * 32 + len(task.val)


def test_a_search_whose_time_is_up_within_a_training_loads_nothing_more_and_loses_nothing(task, hub, monkeypatch):
    strategy, train, load = FewSteps(steps=(3,), margin=0), short_tuning.train, type(hub).load
    loaded, over = [], []

    def second_is_late(learner, batches, evaluate, plan, runtime):
        if plan.deadline is not None and len(loaded) == 2:
            over.append(True)
            plan = dataclasses.replace(plan, deadline=time.monotonic() - 1)
        return train(learner, batches, evaluate, plan, runtime)

    def noted(self, name, *arguments, **options):
        loaded.append(name)
        return load(self, name, *arguments, **options)

    search(hub, task, "logme")  # fingerprints and features are known from now on
    monkeypatch.setattr(short_tuning, "train", second_is_late)
    monkeypatch.setattr(short_tuning, "check_time", lambda deadline: check_time(0.0 if deadline and over else deadline))
    monkeypatch.setattr(type(hub), "load", noted)
    first = search(hub, task, strategy, budget="1 model, 1 h")
    assert first.late
    assert len(loaded) == 2
    assert [row["late"] for row in first.rows] == [False, True, True]
    assert "no time left" in repr(first)
    assert any("2 of 3 models were not scored: the budget's seconds were spent" in note for note in first.notes)
    loaded.clear()
    over.clear()
    with pytest.raises(SearchError, match="only 2 of the hub's 3 models could be scored.*seconds were spent"):
        search(hub, task, strategy, budget="3 models, 1 h")
    assert search(hub, task, strategy, budget=1).forward_passes == 2 * 32 + len(task.val)  # the third goes on after its first step


@pytest.mark.parametrize("strategy", [FewSteps(steps=(1,)), "logme"])
def test_a_cache_that_cannot_be_written_ends_a_search_and_is_no_fault_of_a_model(task, hub, monkeypatch, strategy):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hubtune.selection.memory.os", SimpleNamespace(replace=full))
    with pytest.raises(RunError, match=r"scores cannot be written.*No space left on device.*HUBTUNE_CACHE"):
        search(hub, task, strategy, budget=1)


def test_features_that_cannot_be_written_end_a_search(task, hub, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hubtune.features.cache.save_file", full)
    with pytest.raises(RunError, match=r"features cannot be written.*No space left on device.*HUBTUNE_CACHE"):
        search(hub, task, "logme", budget=1)


def test_a_damaged_checkpoint_of_a_search_is_set_aside(task, hub):
    tuning, name = ShortTuning(task=task, rounds=(1, 2)), hub.names[0]
    tuning.score(name, hub=hub, until=1)
    (path,) = checkpoints()
    path.write_bytes(b"torn")
    with pytest.warns(RuntimeWarning, match="damaged"):
        found = tuning.score(name, hub=hub, until=2)
    assert found.error is None
    assert found.forward_passes == 2 * 32 + len(task.val)
    short_tuning.forget(found.checkpoint)
    assert not checkpoints()


def test_a_search_by_steps_on_workers_finds_the_same(task, hub, monkeypatch, tmp_path):
    here = search(hub, task, FewSteps(steps=(1, 2), margin=0), budget=1)
    monkeypatch.setenv("HUBTUNE_CACHE", str(tmp_path))
    there = search(hub, task, FewSteps(steps=(1, 2), margin=0), budget=1, engine=SideBySide(workers=2))
    assert [(row["name"], row["scores"]) for row in there.rows] == [(row["name"], row["scores"]) for row in here.rows]
    assert there.forward_passes == here.forward_passes


def test_a_budget_of_passes_is_kept_whatever_the_cache_knows(task, hub):
    ranking = search(hub, task, "linear", budget="2 models, 100 passes")
    assert 3 * 9 < ranking.forward_passes <= 100
    assert all(0 < row["share"] < 1 for row in ranking.rows)
    again = search(hub, task, "linear", budget="2 models, 100 passes")
    assert [row["scores"] for row in again.rows] == [row["scores"] for row in ranking.rows]
    assert search(hub, task, "linear", budget="1000 passes").forward_passes == 3 * IMAGES - ranking.forward_passes
    with pytest.raises(ConfigurationError, match="expected at least 27"):
        search(hub, task, "linear", budget="10 passes")
    with pytest.raises(ConfigurationError, match="a strategy without steps"):
        search(hub, task, SuccessiveHalving(steps=(5,)), budget="100 passes")


def test_scores_of_few_images_still_decide_and_a_note_says_what_they_are(task, hub):
    ranking = search(hub, task, "meta-learned", budget="2 models, 100 passes")
    assert any("the intervals may not hold" in note for note in ranking.notes)
    assert any("by knn, logme, loo-ridge" in note for note in ranking.notes)


def test_time_that_is_up_ranks_what_was_scored_by_then(task, hub, monkeypatch):
    import hubtune.selection.scoring as module

    asked = []

    def later(deadline):
        asked.append(deadline)
        check_time(0.0 if len(asked) > 6 else deadline)

    monkeypatch.setattr(module, "check_time", later)
    ranking = search(hub, task, "logme", budget="1 model, 1 h")
    late = [row for row in ranking.rows if row["error"]]
    assert 0 < len(late) < 3
    assert all(row["late"] and "the budget's seconds were spent" in row["error"] for row in late)
    assert any(f"{len(late)} of 3 models were not scored" in note for note in ranking.notes)
    assert all(deadline <= time.time() + 3600 for deadline in asked)


def test_time_that_is_up_in_a_later_round_leaves_the_earlier_one(task, hub, monkeypatch):
    import hubtune.selection.scoring as module

    began = []
    monkeypatch.setattr(module, "check_time", lambda deadline: check_time(0.0 if len(began) > 1 else deadline))
    real = module.score_all
    monkeypatch.setattr("hubtune.selection.searching.score_all", lambda *arguments: (began.append(1), real(*arguments))[1])
    ranking = search(hub, task, SuccessiveHalving(proxy="logme", first=0.5), budget="1 model, 1 h")
    assert all(row["error"] is None and row["share"] == 0.5 for row in ranking.rows)
    assert any("before the last comparison" in note for note in ranking.notes)


def test_no_time_at_all_is_one_error(task, hub):
    with pytest.raises(SearchError, match="budget's seconds were spent"):
        search(hub, task, "logme", budget="0.000001 s")


def with_targets(split, targets):
    changed = split.select(range(len(split)))
    changed.targets = targets
    return changed


def test_corrected_labels_run_and_load_no_model(task, hub, monkeypatch):
    before = search(hub, task, "linear")
    corrected = dataclasses.replace(task, train=with_targets(task.train, task.train.targets.flip(0)))
    monkeypatch.setattr(type(hub), "load", lambda *_, **__: pytest.fail("a model was loaded"))
    after = search(hub, corrected, "linear")
    assert after.forward_passes == 0
    assert [row["scores"] for row in after.rows] != [row["scores"] for row in before.rows]


def test_removed_images_run_no_model_and_new_ones_only_themselves(task, hub):
    fewer = dataclasses.replace(task, train=task.train.select(range(5, 36)))
    search(hub, fewer, "linear")
    assert search(hub, dataclasses.replace(task, train=task.train.select(range(10, 30))), "linear").forward_passes == 0
    assert search(hub, task, "linear").forward_passes == 3 * 5


def test_images_that_move_between_splits_run_no_model(task, hub):
    search(hub, task, "linear")
    swapped = dataclasses.replace(task, train=task.train.select(range(18, 36)), val=task.train.select(range(18)))
    assert search(hub, swapped, "linear").forward_passes == 0


@pytest.mark.parametrize("strategy", ["linear", "hybrid-logme", "meta-learned", "successive-halving"])
def test_one_image_is_one_error(task, hub, strategy):
    with pytest.raises(SearchError, match="none of the hub's 3 models could be scored"):
        search(hub, task.take(train=1), strategy)


@pytest.mark.parametrize("strategy", ["linear", "logme", "meta-learned", "successive-halving"])
def test_fewer_images_than_classes_and_absent_classes_can_be_searched(task, hub, strategy):
    two = dataclasses.replace(task, train=task.train.select([0, 1, 3, 4]))
    ranking = search(hub, two, strategy, budget=2)
    assert len(ranking.picks) == 2
    assert len(search(hub, task.take(train=2), strategy, budget=1).picks) == 1


def test_constant_and_one_dimensional_features(task, hub):
    class Mean(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(float(scale)))

        def forward(self, x):
            return self.scale * x.mean((1, 2, 3))[:, None]

    card = {"source": "test", "architecture": "mean", "params": 1, "input_size": 16, "feature_dim": 1}
    odd = hub.add(Mean(0), ht.ModelCard(name="constant", **card)).add(Mean(1), ht.ModelCard(name="one", **card))
    ranking = search(odd, task, "meta-learned", budget=4)
    assert "one" in ranking.picks
    assert ranking.rows[-1]["name"] == "constant"
    assert "same features" in ranking.rows[-1]["error"]
    assert ranking.rows[-1]["predicted"] is None


def test_a_damaged_table_of_past_runs_is_refused_before_anything_runs(task, hub, tmp_path):
    path = tmp_path / "past.csv"
    path.write_text("model,task\na,b\n")
    with pytest.raises(DataError, match="accuracy"):
        search(hub, task, "linear", past=path)
    assert np.all([row["seconds"] >= 0 for row in search(hub, task, "linear").rows])
