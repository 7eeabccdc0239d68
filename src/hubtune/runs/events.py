"""What long work says while it goes on; whoever shows progress listens."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Some of a stage is done, or something is worth a note."""

    stage: str
    """What is being done, such as "features"."""
    done: float = 0.0
    total: float = 0.0
    """In the stage's own unit; 0 for a note."""
    detail: str = ""


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
