"""Append-only records of what was done and what it scored."""

from hubtune.runs.events import Event, Listener, silent
from hubtune.runs.folders import cache_folder, runs_folder
from hubtune.runs.record import (
    as_text,
    cause_of,
    list_runs,
    lock,
    plain,
    read_record,
    run_name,
    run_target,
    temporary_beside,
    write_atomically,
    write_record,
)

__all__ = [
    "Event",
    "Listener",
    "as_text",
    "cache_folder",
    "cause_of",
    "list_runs",
    "lock",
    "plain",
    "read_record",
    "run_name",
    "run_target",
    "runs_folder",
    "silent",
    "temporary_beside",
    "write_atomically",
    "write_record",
]
