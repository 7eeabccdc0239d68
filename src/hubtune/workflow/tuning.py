"""From a task and a hub to the best transferred model."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hubtune
from hubtune.engines import Engine, engine_named
from hubtune.errors import ConfigurationError
from hubtune.hub import Hub
from hubtune.runs import Listener, read_record, run_name, run_target, runs_folder, silent
from hubtune.selection import AUTO, Budget, Strategy
from hubtune.tasks import Task
from hubtune.training.cells import environment
from hubtune.training.method import Method
from hubtune.training.runtime import Runtime
from hubtune.workflow.methods import method_named
from hubtune.workflow.outcome import write_run
from hubtune.workflow.paths import known_rights
from hubtune.workflow.planning import Plan, Wanted, nothing_finished
from hubtune.workflow.running import CellRunner
from hubtune.workflow.searching import search_in_time


@dataclass(frozen=True, kw_only=True)
class Run:
    """What ``tune`` hands over."""

    path: Path
    """The run's folder: record.json, report.html, and the model under ``model/``."""
    record: dict[str, Any]

    def __repr__(self) -> str:
        if "chosen" not in self.record:
            return f"Run({self.record['kind']}, {self.path})"
        chosen, metric = self.record["chosen"], f"test_{self.record['task']['metric']}"
        return f"Run({chosen['method']} on {', '.join(chosen['models'])}: {metric} {self.metrics[metric]:.4f}, {self.path})"

    @property
    def metrics(self) -> dict[str, float]:
        """Of the chosen model: test_accuracy in [0, 1], val_accuracy, and the task's other metrics."""
        return self.record["metrics"]

    @classmethod
    def read(cls, path: Path | str) -> "Run":
        """Read a finished run.

        Raises:
            RunError: the folder is not a run.
        """
        return cls(path=Path(path), record=read_record(path))


def tune(
    task: Task,
    hub: Hub,
    method: str | Method = "fine-tune",
    *,
    seed: int = 0,
    budget: int | str | Budget | None = None,
    strategy: str | Strategy = AUTO,
    past: str | Path = "auto",
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
) -> Run:
    """Transfer a hub's knowledge to a task and keep the best result by validation.

    A method of one model is applied to every model of the hub (after a search, to the picks); a method of many models takes them
    all at once. What an interrupted call had finished is not done again.

    Args:
        method: a name such as "fine-tune", or a method with its fields.
        seed: decides every draw.
        budget: search first, and go on with that many models; None takes the hub as it is. May limit the search too: "2 models, 60s".
        strategy: of the search.
        past: the runs from which the search predicts accuracies: "auto", "none", or a CSV or parquet file.
        input_size: largest side in pixels: models made for larger images see them at this size, the others at their own; None is no limit.
        out: the run's folder; by default one under ``HUBTUNE_RUNS``, named after the task and what was asked.
        device: such as "cpu" or "cuda"; None is the best there is.
        precision: "no" or "bf16".
        engine: who scores and trains: "one-process", "joblib", "ray", "ray://host:port", or an engine; None searches in this process and
            trains side by side on a CPU, one after another on an accelerator.
        workers: processes side by side on a CPU; None is one a core.
        gpus_per_worker: GPUs for each job of a Ray cluster, such as 1 or 0.5.
        time_limit: seconds after which no further step is made; the best finished model is handed over, or where none is finished,
            the best that was evaluated by then.
        checkpoint_seconds: time between checkpoints of one training.
        request: what was asked, in the asker's words, for the record.
        on_event: told of progress.

    Raises:
        ConfigurationError: arguments that cannot work.
        SearchError: no model could be scored.
        TrainingError: no training ended well.
        EngineError: the engine cannot work.
        RunError: a folder cannot be written.
    """
    started = time.monotonic()
    target = None if out is None else run_target(out)
    chosen_method = method_named(method) if isinstance(method, str) else method
    deadline = None if time_limit is None else started + time_limit
    chosen_engine = engine_named(engine, workers=workers, gpus_per_worker=gpus_per_worker) if isinstance(engine, str) else engine
    runtime = Runtime(device_name=device or getattr(chosen_engine, "default_device", None), precision=precision)
    listener = on_event if runtime.is_main else silent
    root = runs_folder()
    ranking = None
    if budget is not None:
        options = {"budget": budget, "time_limit": time_limit, "input_size": input_size, "seed": seed, "device": str(runtime.device)}
        options |= {"engine": chosen_engine, "past": past, "on_event": listener}
        ranking = runtime.on_main(lambda: search_in_time(hub, task, strategy, **options))
        hub = ranking.picks
    if len(hub) == 0:
        raise ConfigurationError("the hub is empty: no model is left after the filter; expected at least one, so loosen --where")
    runner = CellRunner(
        root=root,
        runtime=runtime,
        engine=chosen_engine,
        workers=workers,
        deadline=deadline,
        checkpoint_seconds=checkpoint_seconds,
        on_event=listener,
    )
    plan = Plan(hub=hub, task=task, seed=seed, input_size=input_size, precision=precision, runner=runner)
    groups = [hub.names] if chosen_method.takes_many else [(name,) for name in hub.names]
    outcomes = plan.do([Wanted(method=chosen_method, models=models) for models in groups])
    errors = {name: error for outcome in outcomes for name, error in outcome.errors.items()}
    finished = [outcome.result for outcome in outcomes if outcome.result]
    results = finished or [result for outcome in outcomes for result in outcome.unfinished]
    if not results:
        raise nothing_finished(errors)
    best = max(results, key=plan.score)
    record = {
        "kind": "tune",
        "hubtune": hubtune.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": {
            "data": task.source.get("spec", task.name),
            "data_options": task.source,
            "method": chosen_method.name,
            "config": chosen_method.config(),
            "strategy": ranking.strategy if ranking else None,
            "budget": ranking.budget if ranking else None,
            "seed": seed,
            "input_size": input_size,
            "precision": precision,
        }
        | (request or {}),
        "task": task.describe() | {"source": task.source.get("spec")},
        "search": ranking.to_dict() if ranking else None,
        "environment": environment(),
        "unfinished": best.record.get("unfinished"),
        "warnings": [
            *([] if finished else ["no training was finished in time: this is the best model so far; the same command goes on from there"]),
            *hub.notes,
            *best.record.get("summary", {}).get("warnings", ()),
            *(f"{name}: {error}" for name, error in errors.items()),
        ],
    }
    folder = target or root / run_name(
        task.name,
        chosen_method.name,
        [task.fingerprint, [(card.name, card.sha256) for card in hub], chosen_method.config(), record["request"]],
    )

    def written() -> Run:
        write_run(folder, record, results, best, task, started, known_rights(plan, chosen_method))
        return Run.read(folder)

    return runtime.on_main(written)
