"""From a task and a hub to the best transferred model."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hubtune
from hubtune.errors import ConfigurationError, HubTuneError, TrainingError
from hubtune.hub import Hub
from hubtune.runs import Listener, read_record, runs_folder, silent
from hubtune.selection import Strategy, search
from hubtune.tasks import Task
from hubtune.training.cells import environment
from hubtune.training.loop import OutOfTime
from hubtune.training.method import Cell, Method, Need, Result
from hubtune.training.runtime import Runtime
from hubtune.workflow.engine import Engine
from hubtune.workflow.methods import method_named
from hubtune.workflow.outcome import write_run


@dataclass(frozen=True, kw_only=True)
class Run:
    """What ``tune`` hands over."""

    path: Path
    """The run's folder: record.json, report.html, and the model under ``model/``."""
    record: dict[str, Any]

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
    budget: int | None = None,
    strategy: str | Strategy = "hybrid-linear",
    input_size: int | None = None,
    out: Path | str | None = None,
    device: str | None = None,
    precision: str = "no",
    workers: int | None = None,
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
        budget: search first, and go on with that many models; None takes the hub as it is.
        strategy: of the search.
        input_size: largest side in pixels: models made for larger images see them at this size, the others at their own; None is no limit.
        out: the run's folder; by default one under ``HUBTUNE_RUNS``, named after the task and what was asked.
        device: such as "cpu" or "cuda"; None is the best there is.
        precision: "no" or "bf16".
        workers: processes side by side on a CPU; None is one a core.
        time_limit: seconds after which no further step is made; the best finished model is handed over.
        checkpoint_seconds: time between checkpoints of one training.
        request: what was asked, in the asker's words, for the record.
        on_event: told of progress.

    Raises:
        ConfigurationError: arguments that cannot work.
        SearchError: no model could be scored.
        TrainingError: no training ended well.
    """
    started = time.monotonic()
    chosen_method = method_named(method) if isinstance(method, str) else method
    deadline = None if time_limit is None else started + time_limit
    runtime = Runtime(device_name=device, precision=precision)
    root = runs_folder()
    ranking = None
    if budget is not None:
        ranking = search(
            hub, task, strategy, budget=budget, input_size=input_size, seed=seed, device=str(runtime.device), on_event=on_event
        )
        hub = ranking.picks
    if len(hub) == 0:
        raise ConfigurationError("the hub is empty: no model is left after the filter; expected at least one, so loosen --where")
    engine = Engine(
        root=root, runtime=runtime, workers=workers, deadline=deadline, checkpoint_seconds=checkpoint_seconds, on_event=on_event
    )
    plan = _Plan(hub=hub, task=task, seed=seed, input_size=input_size, precision=precision, engine=engine)
    groups = [hub.names] if chosen_method.takes_many else [(name,) for name in hub.names]
    results, errors = plan.do_variants(chosen_method, groups)
    if not results:
        raise _nothing_finished(errors)
    best = max(results, key=lambda result: result.metrics[f"val_{task.metric}"])
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
            "budget": budget,
            "seed": seed,
            "input_size": input_size,
        }
        | (request or {}),
        "task": task.describe() | {"source": task.source.get("spec")},
        "search": ranking.to_dict() if ranking else None,
        "environment": environment(),
        "warnings": [
            *task.notes,
            *best.record.get("summary", {}).get("warnings", ()),
            *(f"{name}: {error}" for name, error in errors.items()),
        ],
    }
    folder = Path(out) if out is not None else root / _run_name(task, hub, chosen_method, record["request"])
    write_run(folder, record, results, best, task, started)
    return Run.read(folder)


def _nothing_finished(errors: dict[str, HubTuneError]) -> HubTuneError:
    if errors and all(isinstance(error, OutOfTime) for error in errors.values()):
        return TrainingError("the time limit came before any training was finished; the same command with more time goes on from there")
    reasons = "\n  ".join(f"{name}: {error}" for name, error in errors.items())
    return TrainingError(f"no training ended well:\n  {reasons}")


def _run_name(task: Task, hub: Hub, method: Method, request: dict[str, Any]) -> str:
    key = json.dumps([task.fingerprint, list(hub.names), method.config(), request], sort_keys=True, default=str)
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in task.name).strip("-")
    return f"{safe}-{method.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Turns methods into cells, and cells into results."""

    hub: Hub
    task: Task
    seed: int
    input_size: int | None
    precision: str
    engine: Engine

    def do_variants(self, method: Method, groups: Sequence[tuple[str, ...]]) -> tuple[list[Result], dict[str, HubTuneError]]:
        """The best variant of a method on each group of models, and why the others failed.

        Returns:
            One result a group that has any, in the groups' order; errors by a name of the training.
        """
        jobs: dict[tuple[int, int], tuple[Cell, list[Result]]] = {}
        errors: dict[str, HubTuneError] = {}
        for g, models in enumerate(groups):
            for v, variant in enumerate(method.variants(self.task)):
                try:
                    needed = [self._need(need, errors) for need in variant.needs(models, self.task)]
                    finished = [result for result in needed if result is not None]
                    jobs[g, v] = self._cell(variant, models, finished), finished
                except HubTuneError as error:
                    errors["+".join(models)] = error
        outcomes = self.engine.do_all(list(jobs.values()), self.hub, self.task)
        best: dict[int, Result] = {}
        for (g, _), (cell, _) in jobs.items():
            outcome = outcomes[cell.id]
            label = f"{'+'.join(cell.models)} {json.dumps(_difference(cell.method, method))}"
            if isinstance(outcome, HubTuneError):
                errors[label] = outcome
            elif outcome.record.get("error"):
                errors[label] = TrainingError(outcome.record["error"])
            elif g not in best or self._score(outcome) > self._score(best[g]):
                best[g] = outcome
        return list(best.values()), errors

    def _need(self, need: Need, errors: dict[str, HubTuneError]) -> Result | None:
        """What a method needs; None, with its errors noted, where it failed and the method can do without."""
        results, failures = self.do_variants(method_named(need.method, need.config), [need.models])
        if results:
            return results[0]
        if not need.optional or all(isinstance(failure, OutOfTime) for failure in failures.values()):
            raise _nothing_finished(failures)
        errors.update(failures)
        return None

    def _cell(self, method: Method, models: tuple[str, ...], needed: list[Result]) -> Cell:
        return Cell(
            method=method,
            models=tuple(models),
            fingerprints=tuple(self.hub.fingerprint(name, self.hub[name].size_within(self.input_size)) for name in models),
            input_size=self.input_size,
            task=self.task.fingerprint,
            seed=self.seed,
            precision=self.precision,
            needs=tuple(result.cell for result in needed),
        )

    def _score(self, result: Result) -> float:
        return result.metrics[f"val_{self.task.metric}"]


def _difference(variant: Method, method: Method) -> dict[str, Any]:
    """The fields in which a variant differs from its method."""
    own, common = variant.config(), method.config()
    return {name: value for name, value in own.items() if common.get(name) != value}
