"""A folder of parquet files in Hugging Face's layout, or one parquet file."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hubtune.errors import DataError
from hubtune.tasks.checks import counted, shown
from hubtune.tasks.columns import joined, read_tables
from hubtune.tasks.reading import Reading, existing, split_in, split_named

_SHARD = re.compile(r"^(.*?)-?(\d{5})-of-(\d{5})$")


def read(location: str, *, image_column: str | None = None, label_column: str | None = None, group_column: str | None = None) -> Reading:
    """Read parquet files.

    Files belong to the split that their name mentions (``train.parquet``, ``validation-00000-of-00002.parquet``), else to that of
    their folder (``test/0000.parquet``); where nothing names a split, all rows are training rows. Images are bytes, paths from the
    folder on, or a struct of both; labels are class numbers, with names where the Hugging Face metadata has them, or class names.
    Rows keep their order.

    Args:
        location: a file, or a folder that holds files itself, in ``data/``, or in a folder for each split.
        image_column, label_column: the columns, where their types and names do not tell.
        group_column: rows with the same value there, such as a patient's, are never cut apart.

    Raises:
        DataError: no files, missing shards, or columns that cannot be used.
    """
    path = existing(location, "a .parquet file or a folder of such files")
    folder = path if path.is_dir() else path.parent
    files = files_in(path) if path.is_dir() else [path]
    if not files:
        raise DataError(
            f"given {location!r}, which holds no .parquet files; expected train.parquet and, where there are, validation and test"
        )
    parts: dict[str, list[Path]] = {}
    for file in files if path.is_dir() else []:
        parts.setdefault(split_in(file.stem) or split_named(file.parent.name) or "", []).append(file)
    unnamed = parts.pop("", files if not parts else [])
    notes = []
    if not parts:
        parts = {"train": unnamed}
    elif unnamed:
        notes.append(f"{counted(len(unnamed), 'parquet file')} left out, naming no split: {shown(file.name for file in unnamed)}")
    if "train" not in parts:
        raise DataError(
            f"given parquet files of {' and '.join(parts)} only, in {location!r}; expected training rows too: add train.parquet"
        )
    tables = {split: _table(parts[split], label_column) for split in ("train", "val", "test") if split in parts}
    return read_tables(
        path.resolve().stem if path.is_file() else path.resolve().name,
        tables,
        folder=folder,
        image_column=image_column,
        label_column=label_column,
        group_column=group_column,
        notes=notes,
    )


def files_in(folder: Path, suffixes: Sequence[str] = (".parquet",)) -> list[Path]:
    """The parquet files of a folder, of its ``data`` folder and of its split folders."""
    places = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir() and (entry.name == "data" or split_named(entry.name)))]
    return [file for place in places for file in sorted(place.iterdir()) if file.suffix in suffixes]


def _table(files: Sequence[Path], label_column: str | None) -> pa.Table:
    check_shards(files)
    try:
        return joined([pq.read_table(file) for file in files], [file.name for file in files], label_column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        names = shown(file.name for file in files)
        raise DataError(f"the parquet files {names} cannot be read ({error}); expected whole files with the same columns") from error


def check_shards(files: Sequence[Path]) -> None:
    """See that no shard of a split is missing.

    Raises:
        DataError: one is.
    """
    numbers: dict[tuple[str, int], set[int]] = {}
    for file in files:
        found = _SHARD.match(file.stem)
        if found:
            numbers.setdefault((found.group(1), int(found.group(3))), set()).add(int(found.group(2)))
    for (stem, total), present in numbers.items():
        absent = sorted(set(range(total)) - present)
        if absent:
            names = shown(f"{stem}-{number:05d}-of-{total:05d}.parquet" for number in absent)
            raise DataError(f"given {len(present)} of {total} shards of {stem}; expected all: add {names}")
