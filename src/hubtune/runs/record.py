"""A run is a folder with a ``record.json``; it appears under its name only when it is whole."""

import contextlib
import fcntl
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from hubtune.errors import ConfigurationError, RunError

FORMAT = 1


@contextlib.contextmanager
def write_atomically(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``; rename it to ``target`` when the block ends without an error.

    An older ``target`` is replaced. A reader sees the old folder, the new one, or for a moment none; never a half-written one.

    Raises:
        RunError: the folder cannot be written (no permission, disk full).
    """
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.rename(target, old / "old")
            os.rename(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(temporary, target)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{target} cannot be written ({cause_of(error)}); free some space or name another folder") from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def run_target(out: Path | str) -> Path:
    """A folder that a run was asked to be written to, told before the work begins where it holds something else.

    Raises:
        ConfigurationError: it is a file, or a folder with files but no run.
    """
    folder = Path(out).expanduser()
    if folder.is_dir() and ((folder / "record.json").exists() or not any(folder.iterdir())):
        return folder
    if folder.exists() or folder.is_symlink():
        raise ConfigurationError(
            f"the run was asked to be written to {folder}, which holds something else; expected a new or empty folder, or an older run, "
            "which it would replace"
        )
    return folder


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes; the system lets go of it when the process ends, however it ends.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115 - closed below, outside of this try
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({cause_of(error)}); free some space or name another folder") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cause_of(error: BaseException) -> str:
    """In a few words, why a file could not be written: what the system said, where it is among the error's causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def temporary_beside(path: Path) -> Path:
    """A name beside ``path`` that no other process takes, on whatever machine it runs."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def plain(value: Any) -> Any:
    """A value as JSON knows it: NaN and infinities become null, paths strings, numpy and torch scalars numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    return value


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``folder/record.json``, whole or not at all."""
    temporary = folder / ".record.json"
    temporary.write_text(json.dumps({"format": FORMAT, **plain(record)}, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, folder / "record.json")


def read_record(folder: Path | str) -> dict[str, Any]:
    """Read a run's record.

    Raises:
        RunError: there is no record, or it is damaged.
    """
    path = Path(folder) / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder} is not a run: it holds no record.json; give the folder that 'hubtune tune' printed") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); run the command that made it again") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RunError(f"{path} is not a record of format {FORMAT}; it was written by another version of HubTune")
    return record


def list_runs(root: Path) -> list[dict[str, Any]]:
    """What each finished run of a folder was and scored, newest first; a damaged record is left out. A comparison has many methods."""
    found = []
    for path in root.glob("*/record.json"):
        with contextlib.suppress(RunError):
            record = read_record(path.parent)
            chosen, compared, asked = (record.get(key) or {} for key in ("chosen", "comparison", "request"))
            found.append(
                {
                    "name": path.parent.name,
                    "path": str(path.parent),
                    "created": record.get("created", ""),
                    "task": record.get("task", {}).get("name", ""),
                    "method": chosen.get("method") or ", ".join(asked.get("methods") or ()),
                    "models": chosen.get("models") or compared.get("models", []),
                    "metrics": record.get("metrics", {}),
                }
            )
    return sorted(found, key=lambda row: (row["created"], row["name"]), reverse=True)
