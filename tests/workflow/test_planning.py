"""Cells: which are needed, which are done together, which only once."""

import pytest

import hubtune as ht
from hubtune.runs import runs_folder
from hubtune.selection.halving import FewSteps, SuccessiveHalving
from hubtune.workflow.estimating import estimate
from hubtune.workflow.planning import Wanted, every_training
from hubtune.workflow.running import CellRunner

BASE = {"learning_rates": [0.01, 0.001], "steps": 6, "batch_size": 12}


@pytest.fixture
def calls(monkeypatch):
    """The methods of the cells of each call of the engine."""
    found = []
    run = CellRunner.run

    def noted(self, cells, hub, task):
        found.append(sorted(cell.method.name for cell, _ in cells))
        return run(self, cells, hub, task)

    monkeypatch.setattr(CellRunner, "run", noted)
    return found


def test_what_a_method_needs_is_done_side_by_side(task, hub, calls):
    ht.tune(task, hub, method=ht.Ensemble(base_config=BASE), workers=1)
    assert calls == [["fine-tune"] * 6, ["ensemble"]]


def test_an_estimate_counts_the_cells_that_tune_makes(task, hub):
    method = ht.Distill(base_config=BASE, learning_rates=(0.01,), steps=6, batch_size=12)
    estimated = estimate(task, hub, method)
    assert [each["method"] for each in estimated["trainings"]] == ["fine-tune"] * 6 + ["ensemble", "distill"]
    assert not (runs_folder() / "cells").exists()
    ht.tune(task, hub, method=method, workers=1)
    assert len(list(runs_folder().glob("cells/*/record.json"))) == estimated["trained"] == 8


def test_several_methods_share_what_they_need(task, hub):
    methods = [ht.Ensemble(base_config=BASE), ht.EnsembleTopK(base_config=BASE), ht.FineTune.from_config(BASE)]
    wanted = [Wanted(method=method, models=hub.names if method.takes_many else hub.names[:1]) for method in methods]
    assert [each.method.name for each in every_training(wanted, task)] == ["fine-tune"] * 6 + ["ensemble", "ensemble-top-k"]


@pytest.mark.parametrize(
    ("method", "budget", "trained"), [(ht.FineTune(steps=6), 2, 4), (ht.HubPathway(steps=6), None, 4), (ht.LinearProbe(), 1, 1)]
)
def test_an_estimate_is_of_every_method(task, hub, method, budget, trained):
    estimated = estimate(task, hub, method, budget=budget)
    assert [row["name"] for row in estimated["rows"]] == list(hub.names)
    assert estimated["trained"] == trained
    assert estimated["seconds"] > estimated["search_seconds"] >= 0


def test_a_search_that_trains_is_counted_with_its_steps(task, hub, monkeypatch):
    monkeypatch.setattr("hubtune.workflow.estimating._seconds", lambda work: 1.6)  # 0.1 s an image, of whatever
    searched = [
        estimate(task, hub, ht.LinearProbe(), budget=1, strategy=strategy)["search_seconds"]
        for strategy in ("linear", FewSteps(steps=(5, 10)), SuccessiveHalving(first=0.5))
    ]
    images, batch, val = len(task.train) + len(task.val), min(32, len(task.train)), len(task.val)
    # Three models for 5 steps, two of them for 5 more; three on half of the images, two on the other half.
    trained = 3 * (4 * 5 * batch + val) + 2 * (4 * 5 * batch + val)
    assert searched == pytest.approx([0.1 * 3 * images, 0.1 * trained, 0.1 * 2.5 * images])


def test_twice_the_steps_are_twice_the_seconds(task, hub, monkeypatch):
    monkeypatch.setattr("hubtune.workflow.estimating._seconds", lambda work: 1.6)  # 0.1 s an image, of whatever
    one, two = (
        estimate(task, hub, ht.HubPathway(steps=steps, batch_size=10, learning_rates=(0.01,), prior=0, evaluations=1))["seconds"]
        for steps in (5, 10)
    )
    assert two - one == pytest.approx(5 * 10 * 0.1)
