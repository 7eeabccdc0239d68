"""Jobs side by side in processes of this machine, by joblib."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from hubtune.engines.engine import ATTEMPTS, Answer, Job, do_one
from hubtune.errors import EngineError


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The engine for a machine of several cores."""

    workers: int | None = None
    """Processes; None is as many as the cores have room for the jobs' threads."""

    default_device = None

    def do(self, function: Callable[[Job], Answer], jobs: Sequence[Job], *, threads: int | None = None) -> Iterator[tuple[int, Answer]]:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        workers = min(self.workers or max(1, cores() // (threads or 1)), len(jobs))
        left = dict(enumerate(jobs))
        for _ in range(ATTEMPTS):
            if not left:
                return
            calls = (delayed(_numbered)(position, function, job, threads) for position, job in list(left.items()))
            try:
                # Without batches, so that no more than the jobs under way are lost with a worker.
                for position, answer in Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")(calls):  # pyright: ignore
                    del left[position]
                    yield position, answer
            except TerminatedWorkerError:
                continue
        if left:
            raise EngineError(
                f"a process that did one of {len(left)} jobs was killed, {ATTEMPTS} times in a row; memory may be too small: "
                "give fewer --workers, or smaller batches"
            )


def _numbered(position: int, function: Callable[[Job], Answer], job: Job, threads: int | None) -> tuple[int, Answer]:
    return position, do_one(function, job, threads)
