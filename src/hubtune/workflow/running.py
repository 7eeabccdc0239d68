"""Doing many cells on an engine, and telling how far they are."""

import contextlib
import json
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hubtune.engines import Engine, OneProcess, SideBySide
from hubtune.engines.side_by_side import cores
from hubtune.errors import ConfigurationError, EngineError, HubTuneError, RunError, of_model
from hubtune.hub import Hub
from hubtune.runs import Event, Listener, cause_of, silent
from hubtune.tasks import Task
from hubtune.training.cells import Work, do
from hubtune.training.method import Cell, Result
from hubtune.training.runtime import Runtime

POLL_SECONDS = 0.5

Job = tuple[Cell, Hub, list[Result]]
"""A cell, its models, and the results that it needs."""


@dataclass(frozen=True, kw_only=True)
class CellRunner:
    """How cells are done. Neither order nor engine changes a result: every random stream derives from the cell."""

    root: Path
    """Folder of all runs."""
    runtime: Runtime = field(default_factory=Runtime)
    engine: Engine | None = None
    """None: side by side on a CPU, one after another on an accelerator, shared where torchrun started several processes."""
    workers: int | None = None
    """Processes side by side on a CPU; None is one a core, as far as there are cells."""
    deadline: float | None = None
    """``time.monotonic()`` after which to stop."""
    checkpoint_seconds: float = 20.0
    on_event: Listener = silent

    def run(self, cells: Sequence[tuple[Cell, list[Result]]], hub: Hub, task: Task) -> dict[str, Result | HubTuneError]:
        """Results, or the error that ended a cell, by cell id.

        Args:
            cells: each with the results that it needs; a cell that is asked for twice is done once.

        Raises:
            ConfigurationError: an engine was asked for, and torchrun started several processes.
            EngineError: the engine cannot work.
            RunError: the folder cannot be written.
        """
        if self.engine is not None and self.runtime.processes > 1:
            raise ConfigurationError(
                f"an engine was asked for in {self.runtime.processes} processes that torchrun started; expected one or the other: "
                "processes that share each training take no engine"
            )
        jobs = {cell.id: (cell, hub.subset(cell.models), needs) for cell, needs in cells}
        work = Work(root=self.root, runtime=self.runtime, checkpoint_seconds=self.checkpoint_seconds)
        outcomes: dict[str, Result | HubTuneError] = dict(self.runtime.on_main(partial(_begin, jobs, work)))
        pending = [job for id, job in jobs.items() if id not in outcomes]
        # The threads of a cell follow from the plan, not from what is already finished: a repeat computes with the same number.
        on_cpu = self.runtime.device.type == "cpu" and self.runtime.processes == 1
        threads = max(1, cores() // max(1, min(cores(), len(jobs)))) if on_cpu else None
        # Machines share the time of day, but not a monotonic clock.
        until = None if self.deadline is None else time.time() + self.deadline - time.monotonic()
        with _progress([cell for cell, *_ in pending], len(jobs), work, self.on_event):
            done = self._engine(len(pending), on_cpu).do(partial(_do, task=task, work=work, until=until), pending, threads=threads)
            outcomes |= {pending[position][0].id: outcome for position, outcome in done}
        return outcomes

    def _engine(self, pending: int, on_cpu: bool) -> Engine:
        if self.engine is not None:
            return self.engine
        workers = min(self.workers or cores(), pending)
        return SideBySide(workers=workers) if on_cpu and workers > 1 else OneProcess()


def _begin(jobs: dict[str, Job], work: Work) -> dict[str, Result]:
    """Results of finished cells by id, and folders for the others.

    A worker that does not find its own sees other files than this process.
    """
    finished = {id: result for id, (cell, *_) in jobs.items() if (result := work.finished(cell))}
    for id, (cell, *_) in jobs.items():
        folder = work.progress_folder(cell)
        try:
            if id not in finished:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder} cannot be made ({cause_of(error)}); name another folder in HUBTUNE_RUNS") from error
    return finished


def _do(job: Job, *, task: Task, work: Work, until: float | None) -> Result | HubTuneError:
    cell, hub, needs = job
    try:
        if not work.progress_folder(cell).is_dir() and work.finished(cell) is None:
            raise EngineError(
                f"{platform.node()} does not see the runs in {work.root}; expected one folder that all machines share under this path: "
                "name it in HUBTUNE_RUNS, and one for features in HUBTUNE_CACHE"
            )
        deadline = None if until is None else time.monotonic() + until - time.time()
        on_progress = _ProgressFile(_progress_path(work, cell)) if work.runtime.is_main else work.on_progress
        return do(cell, hub, task, needs, replace(work, deadline=deadline, on_progress=on_progress))
    except Exception as error:
        # Processes that share a training would wait for the one that failed.
        if work.runtime.processes > 1 and not isinstance(error, HubTuneError):
            raise
        return of_model(error)


def _progress_path(work: Work, cell: Cell) -> Path:
    return work.progress_folder(cell) / "progress.json"


class _ProgressFile:
    """How far a cell is, for whoever watches from another process."""

    def __init__(self, path: Path):
        self._path = path
        self._last = 0.0

    def __call__(self, step: int, steps: int, scalars: dict[str, float]) -> None:
        if time.monotonic() - self._last > POLL_SECONDS:
            self._last = time.monotonic()
            with contextlib.suppress(OSError):
                self._path.write_text(json.dumps({"step": step, "steps": steps, "loss": scalars.get("loss")}))


@contextlib.contextmanager
def _progress(pending: Sequence[Cell], total: int, work: Work, on_event: Listener) -> Iterator[None]:
    """Tell of the cells' progress while the block runs."""
    stop = threading.Event()

    def look() -> None:
        done, running = float(total - len(pending)), []
        for cell in pending:
            if (work.folder(cell) / "record.json").exists():
                done += 1
                continue
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(_progress_path(work, cell).read_text())
                done += state["step"] / state["steps"]
                running.append(f"{'+'.join(cell.models)} {state['step']}/{state['steps']} loss {state['loss']:.3f}")
        on_event(Event("train", done, total, ", ".join(running[:2])))

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        look()
