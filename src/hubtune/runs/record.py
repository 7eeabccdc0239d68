"""A run is a folder with a ``record.json``; it appears under its name only when it is whole."""

import contextlib
import fcntl
import hashlib
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
SHORT = 40
"""Letters of a task's name that a folder's name holds, at most."""


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
        with _one_at_a_time(target.parent):
            _swap(temporary, target)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{target} cannot be written ({cause_of(error)}); free some space or name another folder") from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from renaming in a folder, where its file system has locks for folders."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _swap(new: Path, target: Path) -> None:
    """Rename a folder to ``target``; what was there is removed, or is there again where that fails."""
    if not target.exists():
        os.rename(new, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        os.rename(target, old / "old")
        try:
            os.rename(new, target)
        except OSError:
            os.rename(old / "old", target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def run_target(out: Path | str) -> Path:
    """A folder that a run was asked to be written to, told before the work begins where it cannot be.

    Raises:
        ConfigurationError: it is a file, a folder with files but no run, the current folder, or in a place that cannot be written.
    """
    folder = Path(out).expanduser().absolute()
    if folder == Path.cwd():
        raise ConfigurationError(
            f"the run was asked to be written to the current folder, {folder}; expected another one, such as {folder}/run"
        )
    ours = folder.is_dir() and ((folder / "record.json").exists() or not any(folder.iterdir()))
    if not ours and (folder.exists() or folder.is_symlink()):
        raise ConfigurationError(
            f"the run was asked to be written to {folder}, which holds something else; expected a new or empty folder, or an older run, "
            "which it would replace"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    except OSError as error:
        raise ConfigurationError(f"the run cannot be written to {folder} ({cause_of(error)}); name another folder") from error
    return folder


def run_name(task: str, what: str, asked: Any) -> str:
    """The name of a run's folder: of the task, of what was done, and eight digits that change with anything that was asked."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in task).strip("-")[:SHORT]
    digits = hashlib.sha256(json.dumps(plain(asked), sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{safe}-{what[:SHORT]}-{digits}"


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


def as_text(name: str) -> str:
    """A file's name as it can be written: bytes in it that are no text become backslashes and digits."""
    return name.encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> Any:
    """A value as JSON knows it: NaN and infinities become null, paths strings, scalars of numpy and torch numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return plain(str(value))
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
    for path in root.glob("[!.]*/record.json"):
        with contextlib.suppress(RunError):
            record = read_record(path.parent)
            chosen, compared, asked, task = (record.get(key) or {} for key in ("chosen", "comparison", "request", "task"))
            found.append(
                {
                    "name": path.parent.name,
                    "path": str(path.parent),
                    "created": record.get("created", ""),
                    "task": task.get("name") or "",
                    "method": chosen.get("method") or ", ".join(asked.get("methods") or ()),
                    "models": chosen.get("models") or compared.get("models", []),
                    "metrics": record.get("metrics") or {},
                }
            )
    return sorted(found, key=lambda row: (row["created"], row["name"]), reverse=True)
