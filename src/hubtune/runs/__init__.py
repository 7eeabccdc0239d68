"""Append-only records of what was done and what it scored."""

from hubtune.runs.events import Event, Listener, silent
from hubtune.runs.folders import cache_folder, runs_folder
from hubtune.runs.record import list_runs, lock, read_record, write_atomically, write_record

__all__ = [
    "Event",
    "Listener",
    "cache_folder",
    "list_runs",
    "lock",
    "read_record",
    "runs_folder",
    "silent",
    "write_atomically",
    "write_record",
]
