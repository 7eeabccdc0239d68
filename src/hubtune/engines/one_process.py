"""Jobs one after another, in this process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from hubtune.engines.engine import Answer, Job, do_one


@final
@dataclass(frozen=True, kw_only=True)
class OneProcess:
    """The engine for one accelerator, and for looking into what a job does."""

    default_device = None

    def do(self, function: Callable[[Job], Answer], jobs: Sequence[Job], *, threads: int | None = None) -> Iterator[tuple[int, Answer]]:
        for position, job in enumerate(jobs):
            yield position, do_one(function, job, threads)
