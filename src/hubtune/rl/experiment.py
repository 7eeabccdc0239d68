"""From a game to a run: several methods and seeds, the best policy handed over, one page."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import hubtune
from hubtune import report
from hubtune.errors import ConfigurationError
from hubtune.rl.methods import PolicyMethod
from hubtune.rl.policy import SourcePolicy
from hubtune.rl.running import VIDEO, Training, train_policy
from hubtune.rl.world import full_name, world_named
from hubtune.runs import Event, Listener, read_record, run_name, run_target, runs_folder, silent, write_atomically, write_record
from hubtune.training.cells import Work
from hubtune.training.loop import Diverged
from hubtune.training.runtime import Runtime

CHECKPOINT_SECONDS = 60.0
POINTS = 200
"""Of a learning curve."""


@dataclass(frozen=True, kw_only=True)
class PolicyRun:
    """What ``learn`` hands over."""

    path: Path
    """The run's folder: record.json, report.html, episode.gif, and the best policy under ``model/``."""
    record: dict[str, Any]

    def __repr__(self) -> str:
        return f"PolicyRun({self.record['task']['name']}: test_score {self.metrics['test_score']:.1f}, {self.path})"

    @property
    def metrics(self) -> dict[str, float]:
        """Of the best policy: test_score, and test_human_normalised where the game has published scores."""
        return self.record["metrics"]


def learn(
    game: str,
    methods: Sequence[PolicyMethod],
    sources: Sequence[SourcePolicy] = (),
    *,
    seeds: Sequence[int] = (0,),
    out: Path | str | None = None,
    device: str | None = None,
    time_limit: float | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    request: dict[str, Any] | None = None,
    on_event: Listener = silent,
) -> PolicyRun:
    """Train policies for a game by some methods, each from some seeds, and keep the one with the highest mean score.

    A method of one source is applied to each source. What an interrupted call had finished is not done again.

    Args:
        game: such as "Gopher", or "my.module:World".
        methods: each with its fields.
        sources: policies to start from.
        seeds: of the trainings; a method's curve and numbers are over all of them.
        out: the run's folder; by default one under ``HUBTUNE_RUNS``.
        device: such as "cpu" or "cuda"; None is the best there is.
        time_limit: seconds after which no further step is made; the same call goes on from there.
        request: what was asked, in the asker's words, for the record.
        on_event: told of progress.

    Raises:
        UnknownNameError: no such game.
        MissingExtraError: the games are not installed.
        ConfigurationError: a method that cannot take these sources, or no seed.
        TrainingError: every training diverged, or the time was over.
        RunError: a folder cannot be written.
    """
    started = time.monotonic()
    target = None if out is None else run_target(out)
    if not methods or not seeds:
        raise ConfigurationError(f"{len(methods)} methods and {len(seeds)} seeds were given; expected at least one of each")
    trainings = plan_trainings(game, methods, sources, seeds)
    world_named(game, methods[0])  # a world that does not exist is told before anything is trained
    for training in trainings:
        training.method.check_sources(training.sources)
    root = runs_folder()
    work = Work(
        root=root,
        runtime=Runtime(device_name=device),
        deadline=None if time_limit is None else started + time_limit,
        checkpoint_seconds=checkpoint_seconds,
    )
    if work.runtime.processes > 1:
        raise ConfigurationError(f"torchrun started {work.runtime.processes} processes; expected one: a game is played by one process")
    finished: list[tuple[Training, dict[str, Any]]] = []
    failures: list[str] = []
    for place, training in enumerate(trainings):
        try:
            record = train_policy(training, replace(work, on_progress=_Progress(training, place, len(trainings), on_event)))
        except Diverged as error:
            failures.append(f"{training.label}, seed {training.seed}: {error}")
            continue
        for note in record["notes"]:
            on_event(Event("train", detail=note))
        finished.append((training, record))
    if not finished:
        raise Diverged("no training ended well:\n  " + "\n  ".join(failures))
    trainings, records = [training for training, _ in finished], [record for _, record in finished]
    best = max(range(len(records)), key=lambda place: records[place]["history"][-1]["val_score"])
    record = _record(trainings, records, best, request or {}, failures)
    folder = target or root / run_name(
        record["task"]["name"], "+".join(record["request"]["methods"]), [training.cell.id for training in trainings]
    )
    with write_atomically(folder) as written:
        leaf = work.folder(trainings[best].cell)
        shutil.copytree(leaf / "model", written / "model")
        shutil.copy(leaf / VIDEO, written / VIDEO)
        write_record(written, record | {"seconds": sum(each["seconds"] for each in records)})
        report.write(written, home=folder)
    return PolicyRun(path=folder, record=read_record(folder))


def plan_trainings(game: str, methods: Sequence[PolicyMethod], sources: Sequence[SourcePolicy], seeds: Sequence[int]) -> list[Training]:
    """Every method with its sources from every seed.

    Raises:
        UnknownNameError: no such game.
        MissingExtraError: the games are not installed.
    """
    game, found = full_name(game), []
    for method in methods:
        if method.fewest == 0:
            groups: list[tuple[SourcePolicy, ...]] = [()]
        else:
            groups = [tuple(sources)] if method.takes_many or not sources else [(source,) for source in sources]
        found += [Training(game=game, method=method, sources=group, seed=seed) for group in groups for seed in seeds]
    return found


class _Progress:
    """Tells of one training among several, in agent steps."""

    def __init__(self, training: Training, place: int, trainings: int, listener: Listener):
        self._training, self._place, self._trainings, self._listener = training, place, trainings, listener

    def __call__(self, step: int, steps: int, scalars: dict[str, float]) -> None:
        of = f"{self._place + 1}/{self._trainings} " if self._trainings > 1 else ""
        detail = f"{of}{self._training.label}, seed {self._training.seed}: step {step}/{steps}, loss {scalars['loss']:.3f}"
        self._listener(Event("train", self._place * steps + step, self._trainings * steps, detail))


def _labels(trainings: Sequence[Training]) -> list[str]:
    """Of the group that each training belongs to; where one label stands for several configurations, with the fields that differ."""
    configs = [training.method.config() for training in trainings]
    labels = []
    for training, config in zip(trainings, configs, strict=True):
        others = [other for each, other in zip(trainings, configs, strict=True) if each.label == training.label]
        fields = [name for name, value in config.items() if any(other.get(name) != value for other in others)]
        labels.append(" ".join([training.label, *(f"{name}={config[name]}" for name in fields)]))
    return labels


def _record(
    trainings: Sequence[Training], records: Sequence[dict[str, Any]], best: int, request: dict[str, Any], failures: Sequence[str]
) -> dict[str, Any]:
    chosen = records[best]
    groups: dict[str, list[dict[str, Any]]] = {}
    for label, record in zip(_labels(trainings), records, strict=True):
        groups.setdefault(label, []).append(record)
    return {
        "kind": "policy",
        "hubtune": hubtune.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": {"data": trainings[0].game, "methods": list(dict.fromkeys(t.method.name for t in trainings)), **request},
        "task": {"name": chosen["game"], "kind": "game", "metric": "score"},
        "chosen": {"method": chosen["method"], "models": chosen["models"], "config": chosen["config"]},
        "cells": [
            {
                "id": record["id"],
                "method": record["method"],
                "models": record["models"],
                "config": record["config"] | {"seed": record["seed"]},
                "metrics": record["metrics"],
                "seconds": record["seconds"],
                "chosen": record is chosen,
            }
            for record in records
        ],
        "metrics": chosen["metrics"],
        "play": {
            "actions": chosen["actions"],
            "video": VIDEO,
            "episodes": chosen["episodes"],
            "steps_per_second": chosen["steps_per_second"],
            "groups": [_group(label, own) for label, own in groups.items()],
        },
        "environment": chosen["environment"],
        "warnings": list(dict.fromkeys([*failures, *(note for record in records for note in record["notes"])])),
    }


def _group(label: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A method with its sources over the seeds: learning curve and last scores, with spread."""
    scores = [record["metrics"]["test_score"] for record in records]
    normalised = [value for record in records if (value := record["metrics"].get("test_human_normalised")) is not None]
    curves = np.array([game_curve(record["games"], record["config"]["steps"]) for record in records])
    shared = np.flatnonzero(~np.isnan(curves).any(0))
    evaluations = [{row["step"]: row["val_score"] for row in record["history"]} for record in records]
    steps = records[0]["config"]["steps"]
    return {
        "label": label,
        "seeds": [record["seed"] for record in records],
        "scores": scores,
        "mean": float(np.mean(scores)),
        "spread": float(np.std(scores)),
        "human_normalised": float(np.mean(normalised)) if normalised else None,
        "steps": ((shared + 1) * steps / POINTS).tolist(),
        "curve": curves[:, shared].mean(0).tolist(),
        "curve_spread": curves[:, shared].std(0).tolist(),
        "evaluated": [
            {"step": step, "mean": float(np.mean(values)), "spread": float(np.std(values))}
            for step in evaluations[0]
            if (values := [own[step] for own in evaluations if step in own])
        ],
    }


def game_curve(games: Sequence[Sequence[float]], steps: int, window: int = 10) -> list[float]:
    """The mean score of the last ``window`` games of the training at ``POINTS`` even moments; NaN before the first game ended.

    Args:
        games: of each finished game the agent step at its end and its score, then anything else.
        steps: agent steps of the training.
    """
    found = []
    for point in range(1, POINTS + 1):
        ended = [game[1] for game in games if game[0] <= point * steps / POINTS]
        found.append(float(np.mean(ended[-window:])) if ended else float("nan"))
    return found
