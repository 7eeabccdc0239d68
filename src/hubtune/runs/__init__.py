"""Append-only records of what was done and what it scored."""

from hubtune.runs.events import Event, Listener, silent
from hubtune.runs.folders import cache_folder, runs_folder
from hubtune.runs.record import cause_of, list_runs, lock, read_record, run_target, temporary_beside, write_atomically, write_record

__all__ = [
    "Event",
    "Listener",
    "cache_folder",
    "cause_of",
    "list_runs",
    "lock",
    "read_record",
    "run_target",
    "runs_folder",
    "silent",
    "temporary_beside",
    "write_atomically",
    "write_record",
]
