"""Where runs and caches live: ``HUBTUNE_RUNS`` and ``HUBTUNE_CACHE``, else folders of the user's own."""

import os
from pathlib import Path

from hubtune.errors import RunError


def _folder(variable: str, fallback: Path) -> Path:
    folder = Path(os.environ.get(variable) or fallback).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error.strerror}); name a folder that can be written to in {variable}") from error
    if not os.access(folder, os.W_OK):
        raise RunError(f"{folder} cannot be written to; name another folder in {variable}")
    return folder


def cache_folder() -> Path:
    """The folder of features, scores and trainings that a search has begun: all of it can be computed again.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    return _folder("HUBTUNE_CACHE", Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "hubtune")


def runs_folder() -> Path:
    """The folder of runs: what was trained, and what it scored.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    return _folder("HUBTUNE_RUNS", Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "hubtune" / "runs")
