"""Doing many cells: one after another, or side by side in processes of this machine."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hubtune.errors import ConfigurationError, HubTuneError
from hubtune.hub import Hub
from hubtune.runs import Event, Listener, silent
from hubtune.tasks import Task
from hubtune.training.cells import Work, do
from hubtune.training.method import Cell, Result
from hubtune.training.runtime import Runtime

POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How cells are done. Neither order nor processes change a result: every random stream derives from the cell."""

    root: Path
    """Folder of all runs."""
    runtime: Runtime = field(default_factory=Runtime)
    workers: int | None = None
    """Processes side by side on a CPU; None is one a core, as far as there are cells."""
    deadline: float | None = None
    """``time.monotonic()`` after which to stop."""
    checkpoint_seconds: float = 20.0
    on_event: Listener = silent

    def do_all(self, jobs: Sequence[tuple[Cell, list[Result]]], hub: Hub, task: Task) -> dict[str, Result | HubTuneError]:
        """Results, or the error that ended a cell, by cell id.

        Args:
            jobs: each cell with the results that it needs.

        Raises:
            ConfigurationError: started by torchrun as several processes.
        """
        if self.runtime.processes > 1:
            raise ConfigurationError(
                f"started as {self.runtime.processes} processes; expected one: processes that share a training would wait for each other's "
                "lock on its cell. Start the command without torchrun; --workers trains side by side"
            )
        work = Work(root=self.root, runtime=self.runtime, deadline=self.deadline, checkpoint_seconds=self.checkpoint_seconds)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        on_cpu = self.runtime.device.type == "cpu" and self.runtime.processes == 1
        side_by_side = min(self.workers or cores, len(jobs)) if on_cpu else 1
        # The threads of a cell follow from the plan, not from what is already finished: a repeat computes with the same number.
        threads = max(1, cores // max(1, min(cores, len(jobs)))) if on_cpu else None
        outcomes: dict[str, Result | HubTuneError] = {}
        pending = []
        for cell, needs in jobs:
            result = work.finished(cell)
            if result is None:
                pending.append((cell, needs))
            else:
                outcomes[cell.id] = result
        with _progress(pending, len(jobs), self.root, self.on_event):
            if side_by_side > 1 and len(pending) > 1:
                from joblib import Parallel, delayed

                tasks = (delayed(_do)(cell, hub.subset(cell.models), task, needs, work, threads) for cell, needs in pending)
                for cell_id, outcome in Parallel(n_jobs=side_by_side, return_as="generator_unordered")(tasks):  # pyright: ignore
                    outcomes[cell_id] = outcome
            else:
                for cell, needs in pending:
                    cell_id, outcome = _do(cell, hub, task, needs, work, threads)
                    outcomes[cell_id] = outcome
        return outcomes


def _do(cell: Cell, hub: Hub, task: Task, needs: list[Result], work: Work, threads: int | None) -> tuple[str, Result | HubTuneError]:
    import torch

    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        progress = _ProgressFile(_progress_path(work.root, cell))
        return cell.id, do(cell, hub, task, needs, replace(work, on_progress=progress))
    except HubTuneError as error:
        return cell.id, error
    finally:
        torch.set_num_threads(before)


def _progress_path(root: Path, cell: Cell) -> Path:
    return root / "cells" / f".{cell.id}" / "progress.json"


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
def _progress(pending: Sequence[tuple[Cell, list[Result]]], total: int, root: Path, on_event: Listener) -> Iterator[None]:
    """Tell of the cells' progress while the block runs."""
    stop = threading.Event()

    def look() -> None:
        done, running = float(total - len(pending)), []
        for cell, _ in pending:
            if (root / "cells" / cell.id / "record.json").exists():
                done += 1
                continue
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(_progress_path(root, cell).read_text())
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
