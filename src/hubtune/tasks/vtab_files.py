"""A split in parquet or arrow files, of which only the rows that are asked for are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from hubtune.errors import DataError
from hubtune.tasks.columns import joined
from hubtune.tasks.parquet import check_shards

SUFFIXES = (".parquet", ".arrow")


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, in order; final.

    Raises:
        DataError: a shard is missing, or a file cannot be read.
    """

    files: Sequence[Path]

    def __post_init__(self) -> None:
        check_shards(self.files)

    @property
    def num_rows(self) -> int:
        """Of all files."""
        return sum(self._sizes())

    @property
    def schema(self) -> pa.Schema:
        """Of the first file."""
        return self._guarded(lambda: _opened(self.files[0]).schema_arrow if _is_parquet(self.files[0]) else _mapped(self.files[0]).schema)

    def rows(self, wanted: range) -> pa.Table:
        """Consecutive rows, without the rest of the files."""
        parts, names, first = [], [], 0
        for file, size in zip(self.files, self._sizes(), strict=True):
            start, stop = max(wanted.start, first), min(wanted.stop, first + size)
            if start < stop:
                parts.append(self._guarded(lambda file=file, a=start - first, b=stop - first: _slice(file, a, b)))
                names.append(file.name)
            first += size
        return self._guarded(lambda: joined(parts, names))

    def _sizes(self) -> list[int]:
        return self._guarded(
            lambda: [_opened(file).metadata.num_rows if _is_parquet(file) else _mapped(file).num_rows for file in self.files]
        )

    def _guarded(self, read):
        try:
            return read()
        except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
            names = ", ".join(file.name for file in self.files[:3]) + (", ..." if len(self.files) > 3 else "")
            raise DataError(f"{names} cannot be read ({error}); expected whole parquet or arrow files with the same columns") from error


def _is_parquet(file: Path) -> bool:
    return file.suffix == ".parquet"


def _opened(file: Path) -> pq.ParquetFile:
    return pq.ParquetFile(file, memory_map=True)


def _mapped(file: Path) -> pa.Table:
    """An arrow file of either kind; its rows stay on disk until they are used."""
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source).read_all()


def _slice(file: Path, start: int, stop: int) -> pa.Table:
    if not _is_parquet(file):
        return _mapped(file).slice(start, stop - start)
    opened, groups, first, skipped = _opened(file), [], 0, 0
    for group in range(opened.num_row_groups):
        size = opened.metadata.row_group(group).num_rows
        if first + size <= start:
            skipped += size
        elif first < stop:
            groups.append(group)
        first += size
    return opened.read_row_groups(groups).slice(start - skipped, stop - start)
