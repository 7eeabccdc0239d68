"""The search on a tiny hub: what it costs, what it forgets, what it survives."""

import importlib
import shutil
import textwrap

import pytest
import torch

import hubtune as ht
from hubtune.errors import SearchError
from hubtune.runs import cache_folder
from hubtune.selection import STRATEGIES, search
from hubtune.selection.paper_strategies import ByProxy

IMAGES = 36 + 18


def test_every_image_goes_through_every_model_once_ever(task, hub):
    first = search(hub, task, "linear", budget=2)
    assert first.forward_passes == 3 * IMAGES
    second = search(hub, task, "knn", budget=2)
    assert second.forward_passes == 0
    third = search(hub, task, "linear", budget=2)
    assert third.forward_passes == 0
    assert [row["score"] for row in third.rows] == [row["score"] for row in first.rows]


def test_a_new_model_costs_only_that_model(task, hub):
    search(hub.subset(["resnet-a", "vit"]), task, "linear")
    assert search(hub, task, "linear").forward_passes == IMAGES


def test_new_images_cost_only_those_images(task, hub):
    search(hub, task.take(train=20), "linear")
    assert search(hub, task, "linear").forward_passes == 3 * 16


def test_metadata_strategies_run_no_model(task, hub):
    assert search(hub, task, "task-agnostic", budget=2).forward_passes == 0


def test_a_killed_search_goes_on(task, hub, monkeypatch):
    import hubtune.selection.scoring as module

    real, calls = module.extract, []

    def once(*arguments, **options):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(module, "extract", once)
    with pytest.raises(KeyboardInterrupt):
        search(hub, task, "linear", budget=2)
    monkeypatch.setattr(module, "extract", real)
    resumed = search(hub, task, "linear", budget=2)
    assert 0 < resumed.forward_passes < 3 * IMAGES
    monkeypatch.setenv("HUBTUNE_CACHE", str(cache_folder() / "fresh"))
    assert search(hub, task, "linear", budget=2).picks.names == resumed.picks.names


def test_damaged_caches_change_nothing(task, hub):
    expected = search(hub, task, "linear", budget=2)
    for path in cache_folder().rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-7] + b"garbage")
    found = search(hub, task, "linear", budget=2)
    assert found.forward_passes == 3 * IMAGES
    assert [row["scores"] for row in found.rows] == [row["scores"] for row in expected.rows]


def test_the_order_of_the_hub_does_not_matter(task, hub):
    assert (
        search(hub.subset(["vit", "resnet-b", "resnet-a"]), task, "linear", budget=2).picks.names
        == search(hub, task, "linear", budget=2).picks.names
    )


@pytest.fixture
def broken(models_folder, tmp_path):
    """A hub of which one model's weights are truncated."""
    folder = tmp_path / "models"
    shutil.copytree(models_folder, folder)
    path = folder / "resnet-b" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    return ht.Hub.open(folder)


def test_a_model_that_fails_is_named_and_the_search_goes_on(task, broken):
    notes = []
    ranking = search(broken, task, "hybrid-linear", budget=2, on_event=lambda event: notes.append(event.detail))
    assert "resnet-b" not in ranking.picks.names
    failed = ranking.rows[-1]
    assert failed["name"] == "resnet-b"
    assert failed["rank"] is None
    assert "resnet-b" in failed["error"]
    assert any("resnet-b" in note for note in notes)


def test_fewer_models_than_the_budget_is_one_error(task, broken):
    with pytest.raises(SearchError, match="only 2 of the hub's 3"):
        search(broken, task, "linear", budget=3)


def test_no_model_at_all_is_one_error_with_every_reason(task, broken):
    with pytest.raises(SearchError, match=r"(?s)none of the hub's 1 models.*resnet-b"):
        search(broken.subset(["resnet-b"]), task, "linear")


def test_nan_features_are_a_failure_of_that_model(task, hub):
    import torch

    class Bad(torch.nn.Module):
        def forward(self, x):
            return torch.full((len(x), 4), float("nan"))

    card = ht.ModelCard(name="bad", source="test", architecture="bad", params=0, input_size=16, feature_dim=4)
    ranking = search(hub.add(Bad(), card), task, "linear", budget=3)
    assert ranking.rows[-1]["name"] == "bad"
    assert "NaN" in ranking.rows[-1]["error"]


def test_further_proxies_do_not_change_the_picks(task, hub):
    class Headless(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    card = ht.ModelCard(name="plain", source="test", architecture="plain", params=0, input_size=16, feature_dim=3)
    hub, notes = hub.add(Headless(), card), []
    alone = search(hub, task, "loo-ridge", budget=4)
    both = search(hub, task, "loo-ridge", budget=4, proxies=("leep",), on_event=lambda event: notes.append(event.detail))
    assert both.picks.names == alone.picks.names
    scores = {row["name"]: row["scores"] for row in both.rows}
    assert set(scores["plain"]) == {"loo-ridge"}
    assert set(scores["vit"]) == {"loo-ridge", "leep"}
    assert any("plain: no score by leep: proxy 'leep' needs an upstream head" in note for note in notes)


def test_a_proxy_of_ones_own_is_computed_anew_and_never_nan(task, hub, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"own_{tmp_path.name}"
    source = """
        from hubtune.proxies import Proxy
        sign = 1.0
        spread = lambda features, labels: sign * features.rows.double().std()
        score = Proxy(name="own", function=spread, needs=frozenset({"features"}), meaning="spread", range=(-9.0, 9.0))
    """
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    first = search(hub, task, ByProxy(f"{name}:score"), budget=3)
    module = importlib.import_module(name)
    module.sign = -1.0
    second = search(hub, task, ByProxy(f"{name}:score"), budget=3)
    assert [-row["score"] for row in reversed(second.rows)] == [row["score"] for row in first.rows]
    module.sign = float("nan")
    with pytest.raises(SearchError, match=rf"proxy '{name}:score' gave NaN"):
        search(hub, task, ByProxy(f"{name}:score"), budget=3)


def test_what_was_scored_in_time_is_picked_from(task, hub, monkeypatch):
    import hubtune.selection.scoring as module

    looks = []

    def check(deadline):
        looks.append(deadline)
        if deadline is not None and len(looks) > 6:
            raise module.NotScoredInTime("not scored: too late")

    monkeypatch.setattr(module, "check_time", check)
    assert len(search(hub, task, "knn", budget="1 h").picks) == 1  # two models would be usual, and one could be scored
    looks.clear()
    with pytest.raises(SearchError, match="fewer than the budget of 3"):
        search(hub, task, "linear", budget="3 models, 1 h")


def test_a_smaller_limit_on_the_input_is_another_search(task, hub):
    full, small = search(hub, task, "linear"), search(hub, task, "linear", input_size=8)
    assert small.forward_passes == full.forward_passes == 3 * IMAGES
    assert search(hub, task, "linear", input_size=64).forward_passes == 0


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_answers_with_distinct_models_and_repeats_itself(task, hub, strategy):
    answers = [search(hub, task, strategy, budget=2, seed=4).picks.names for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 2
