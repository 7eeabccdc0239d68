"""Several methods on one task and one hub, over several seeds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hubtune
from hubtune import report
from hubtune.engines import Engine, engine_named
from hubtune.errors import ConfigurationError, TrainingError
from hubtune.hub import Hub
from hubtune.runs import Event, Listener, read_record, run_name, run_target, runs_folder, silent, write_atomically, write_record
from hubtune.selection import AUTO, Strategy
from hubtune.tasks import Task
from hubtune.training.cells import environment
from hubtune.training.method import Method
from hubtune.training.runtime import Runtime
from hubtune.workflow.contestants import labelled
from hubtune.workflow.paths import describe_paths, write_samples
from hubtune.workflow.planning import Plan
from hubtune.workflow.rounds import Round, Watched, missing_seeds
from hubtune.workflow.searching import search_in_time
from hubtune.workflow.tabulating import tabulate


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``compare`` hands over."""

    path: Path
    """The run's folder: record.json and report.html."""
    record: dict[str, Any]

    def __repr__(self) -> str:
        metric = self.record["comparison"]["metric"]
        means = (f"{row['label']} {row['mean'][metric]:.4f}" if row["error"] is None else f"{row['label']} failed" for row in self.rows)
        return f"Comparison({metric}: {', '.join(means)}, {self.path})"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a method, then the analyses: label, mean, spread, flops, seconds, difference, runs, error."""
        return self.record["comparison"]["rows"]

    def row(self, label: str) -> dict[str, Any]:
        """The row of a method."""
        return next(row for row in self.rows if row["label"] == label)


def compare(
    task: Task,
    hub: Hub,
    methods: Sequence[str | Method] | Mapping[str, str | Method],
    *,
    seeds: int | Sequence[int] = 3,
    budget: int | None = None,
    strategy: str | Strategy = AUTO,
    input_size: int | None = None,
    out: Path | str | None = None,
    device: str | None = None,
    precision: str = "no",
    engine: str | Engine | None = None,
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    time_limit: float | None = None,
    checkpoint_seconds: float = 20.0,
    request: dict[str, Any] | None = None,
    on_event: Listener = silent,
) -> Comparison:
    """Do every method with every seed, and lay the results side by side. What is finished, here or by ``tune``, is not done again.

    A method of one model is applied to every model of the hub, and its best by validation stands for it. A method that fails is a row
    with its reason. Where the comparison holds a training of each model alone, best-single and oracle are rows as well.

    Args:
        methods: names, or methods with their fields, or either of them by label; the others are compared with the first.
        seeds: how many, or which.
        budget: search first, and go on with that many models; None takes the hub as it is.
        time_limit: seconds after which no further step is made; what is finished by then is compared.
        The other arguments are those of ``tune``.

    Raises:
        ConfigurationError: arguments that cannot work.
        SearchError: no model could be scored.
        TrainingError: no method ended well.
        EngineError: the engine cannot work.
        RunError: a folder cannot be written.
    """
    started = time.monotonic()
    target = None if out is None else run_target(out)
    contest = labelled(methods)
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ConfigurationError(f"seeds = {seeds!r} was given; expected at least one, all different")
    chosen_engine = engine_named(engine, workers=workers, gpus_per_worker=gpus_per_worker) if isinstance(engine, str) else engine
    runtime = Runtime(device_name=device or getattr(chosen_engine, "default_device", None), precision=precision)
    listener = on_event if runtime.is_main else silent
    root = runs_folder()
    ranking = None
    if budget is not None:
        options = {"budget": budget, "time_limit": time_limit, "input_size": input_size, "seed": numbers[0], "device": str(runtime.device)}
        options |= {"engine": chosen_engine, "on_event": listener}
        ranking = runtime.on_main(lambda: search_in_time(hub, task, strategy, **options))
        hub = ranking.picks
    if len(hub) == 0:
        raise ConfigurationError("the hub is empty: no model is left after the filter; expected at least one, so loosen --where")
    runner = Watched(
        root=root,
        runtime=runtime,
        engine=chosen_engine,
        workers=workers,
        deadline=None if time_limit is None else started + time_limit,
        checkpoint_seconds=checkpoint_seconds,
        on_event=listener,
    )
    rounds = []
    for number, seed in enumerate(numbers):
        listener(Event("compare", number, len(numbers), f"seed {seed}"))
        plan = Plan(hub=hub, task=task, seed=seed, input_size=input_size, precision=precision, runner=runner)
        rounds.append(Round.play(contest, plan, runner))
    listener(Event("compare", len(numbers), len(numbers)))
    if not any(entry.result for played in rounds for entry in played.entries.values()):
        reasons = "\n  ".join(f"{label}: {entry.error}" for label, entry in rounds[0].entries.items())
        raise TrainingError(f"no method ended well:\n  {reasons}")
    table = tabulate(contest, rounds, task)
    # The best by validation comes first: it is the one whose paths are drawn.
    routed = sorted((row for row in table["rows"] if not row["analysis"]), key=lambda row: -row["mean"].get(f"val_{task.metric}", 0.0))
    record = {
        "kind": "compare",
        "hubtune": hubtune.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": {
            "data": task.source.get("spec", task.name),
            "data_options": task.source,
            "methods": list(contest),
            "strategy": ranking.strategy if ranking else None,
            "budget": budget,
            "seeds": numbers,
            "input_size": input_size,
            "precision": precision,
        }
        | (request or {}),
        "task": task.describe() | {"source": task.source.get("spec")},
        "search": ranking.to_dict() if ranking else None,
        "comparison": table | {"models": list(hub.names)},
        "paths": [path for row in routed if (path := paths_of(row["label"], rounds))],
        "environment": environment(),
        "warnings": [*hub.notes, *missing_seeds(rounds), *(warning for played in rounds for warning in played.warnings())],
    }
    cards = [(card.name, card.sha256) for card in hub]
    configs = {label: method.config() for label, method in contest.items()}
    folder = target or root / run_name(task.name, "compare", [task.fingerprint, cards, configs, record["request"]])
    return runtime.on_main(lambda: _written(folder, record, rounds, task, started))


def paths_of(label: str, rounds: Sequence[Round]) -> dict[str, Any] | None:
    """What the record says of the paths of a method; None where it has none."""
    played = [(result, one.rights) for one in rounds if (result := one.entries[label].result)]
    return describe_paths(label, [result for result, _ in played], [rights for _, rights in played]) if played else None


def _written(folder: Path, record: dict[str, Any], rounds: Sequence[Round], task: Task, started: float) -> Comparison:
    with write_atomically(folder) as target:
        for path in record["paths"][:1]:
            result = next(entry.result for played in rounds if (entry := played.entries[path["label"]]).result)
            path["samples"] = write_samples(result, task, target)
        write_record(target, record | {"seconds": time.monotonic() - started})
        report.write(target, folder.absolute())
    return Comparison(path=folder, record=read_record(folder))
