"""The table of a comparison: a row a method, then what no method could do better."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from hubtune.pathway.analysis import BestSingle, Rights, best_single, oracle, right
from hubtune.tasks import Task
from hubtune.training.flops import flops
from hubtune.training.method import Method, Result
from hubtune.workflow.loading import load
from hubtune.workflow.paired import Difference, paired_difference
from hubtune.workflow.rounds import Round

COUNTED = 256
"""Test images, evenly spaced, on which a predictor's operations are counted."""


def tabulate(contest: Mapping[str, Method], rounds: Sequence[Round], task: Task) -> dict[str, Any]:
    """The table: a row a method, then the analyses, each with its difference to the first method."""
    counted: dict[str, float] = {}
    rows = [_row(label, method, rounds, counted) for label, method in contest.items()]
    scores = {label: _scores(label, rounds, task) for label in contest}
    for label, runs, answers in _analyses(rounds, counted):
        if label in contest:  # a method that the user gave an analysis's name
            continue
        rows.append({"label": label, "method": label, "analysis": True, "config": {}, **_summary(runs)})
        scores[label] = answers
    first = next(iter(contest))
    for row in rows:
        difference = None if row["label"] == first else _difference(scores[row["label"]], scores[first])
        row["difference"] = asdict(difference) if difference else None
    return {"reference": first, "metric": f"test_{task.metric}", "seeds": [played.seed for played in rounds], "rows": rows}


def _row(label: str, method: Method, rounds: Sequence[Round], counted: dict[str, float]) -> dict[str, Any]:
    runs = []
    for played in rounds:
        entry = played.entries[label]
        run: dict[str, Any] = {"seed": played.seed, "seconds": entry.seconds, "error": entry.error}
        if entry.result:
            cost = flops_of(entry.result, played.task, counted)
            run |= {"metrics": entry.result.metrics, "models": list(entry.result.cell.models), "flops": cost}
            run |= {"cell": entry.result.cell.id, "path": str(entry.result.folder)}
        runs.append(run)
    return {"label": label, "method": method.name, "analysis": False, "config": method.config(), **_summary(runs)}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and standard deviations over the seeds that ended well."""
    well = [run for run in runs if run.get("metrics")]
    names = list(well[0]["metrics"]) if well else []
    values = {name: [run["metrics"][name] for run in well] for name in names}
    costs = [run["flops"] for run in well if run.get("flops") is not None]
    seconds = [run["seconds"] for run in well if run.get("seconds") is not None]
    return {
        "mean": {name: fmean(found) for name, found in values.items()},
        "spread": {name: stdev(found) for name, found in values.items() if len(found) > 1},
        "flops": fmean(costs) if costs else None,
        "seconds": fmean(seconds) if seconds else None,
        "runs": runs,
        "error": None if well else next((run["error"] for run in runs if run.get("error")), "nothing was finished"),
    }


def _analyses(rounds: Sequence[Round], counted: dict[str, float]) -> Iterator[tuple[str, list[dict[str, Any]], dict[int, np.ndarray]]]:
    """Rows of Table 5 that train nothing: label, a run a seed, and which test images are right, by seed."""
    known = [(played, played.rights) for played in rounds if played.rights is not None]
    if not known:
        return
    found: list[tuple[Round, Rights, BestSingle]] = [(played, rights, best_single(rights)) for played, rights in known]
    for label, by_test in (("best-single", False), ("best-single, chosen on test", True)):
        runs, answers = [], {}
        for played, rights, best in found:
            place = rights.names.index(best.by_test if by_test else best.by_validation)
            result = played.alone[place]
            cost = flops_of(result, played.task, counted)
            metrics = {"test_accuracy": best.accuracy_by_test if by_test else best.accuracy}
            runs.append(
                {"seed": played.seed, "metrics": metrics, "models": [rights.names[place]], "flops": cost, "seconds": played.alone_seconds}
            )
            answers[played.seed] = rights.test[place].numpy()
        yield label, runs, answers
    runs = [{"seed": played.seed, "metrics": {"test_accuracy": oracle(rights.test)}} for played, rights, _ in found]
    yield "oracle", runs, {played.seed: rights.test.any(0).numpy() for played, rights, _ in found}


def _scores(label: str, rounds: Sequence[Round], task: Task) -> dict[int, np.ndarray]:
    """By seed: whether each test image is classified rightly; of other kinds of task the metric alone."""
    found = {}
    for played in rounds:
        if (result := played.entries[label].result) is None:
            continue
        if task.kind == "classification":
            with np.load(result.folder / "predictions.npz") as predictions:
                found[played.seed] = right(torch.from_numpy(predictions["test"]), task.test.targets).numpy()
        else:
            found[played.seed] = np.array([result.metrics[f"test_{task.metric}"]])
    return found


def _difference(scores: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> Difference | None:
    both = [seed for seed in scores if seed in reference]
    if not both:
        return None
    return paired_difference(np.stack([scores[seed] for seed in both]), np.stack([reference[seed] for seed in both]))


def flops_of(result: Result, task: Task, counted: dict[str, float]) -> float:
    """Operations of one image, counted while the deployed model predicts some test images; of a routed one the mean of their paths."""
    if result.cell.id not in counted:
        rows = torch.linspace(0, len(task.test) - 1, min(COUNTED, len(task.test))).long().tolist()
        canvas = task.test.canvas(rows, result.record["canvas_size"])
        counted[result.cell.id] = flops(load(result.folder).predictor.eval(), canvas) / len(rows)
    return counted[result.cell.id]
