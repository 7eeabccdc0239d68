"""What an engine is."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")

ATTEMPTS = 4
"""How often a job is begun whose worker is lost: a job that takes its worker down with it must not do so for ever."""


class Engine(Protocol):
    """Does jobs that know nothing of each other; where, and in which order, changes no answer.

    A job whose worker is lost is done again by another. An error that the function raises ends the whole.
    """

    @property
    def default_device(self) -> str | None:
        """Where the arithmetic of a job is done when nobody says; None is the best that the job's process finds."""
        ...

    def do(self, function: Callable[[Job], Answer], jobs: Sequence[Job], *, threads: int | None = None) -> Iterator[tuple[int, Answer]]:
        """Call the function with each job.

        Args:
            function: with all that the jobs share; can be pickled, as can jobs and answers.
            threads: of torch within each job, whoever does it, so that sums are taken in one order; None leaves them alone.

        Yields:
            The position of a job and its answer, in the order in which they are finished.

        Raises:
            EngineError: the workers cannot be had, or a job lost its worker again and again.
        """
        ...


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Run a block with so many threads of torch; None leaves them alone."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def do_one(function: Callable[[Job], Answer], job: Job, threads: int | None) -> Answer:
    """One job, in whichever process this is."""
    with torch_threads(threads):
        return function(job)
