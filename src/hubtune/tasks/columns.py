"""Which columns of a table hold the images and the labels, and what their values are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hubtune.errors import DataError
from hubtune.tasks.checks import shown
from hubtune.tasks.reading import Reading, Rows

_IMAGE_NAMES = ("image", "img", "images", "jpg", "png")
_LONGEST_PATH = 255
"""in characters, of a path that names its row; a longer text is rather an image in text form"""
_LABEL_NAMES = ("label", "labels", "class", "target", "category")


def read_tables(
    name: str,
    tables: Mapping[str, pa.Table],
    *,
    folder: Path | None,
    image_column: str | None,
    label_column: str | None,
    group_column: str | None,
    notes: Sequence[str] = (),
) -> Reading:
    """Rows of tables in Hugging Face's layout.

    Args:
        name: of the task.
        tables: by split name; "train" first.
        folder: where paths in the image column begin.
        image_column, label_column, group_column: None to find them: by the type in the table's Hugging Face metadata, then by
            their usual names; a group column is only ever named.

    Raises:
        DataError: a column is missing or cannot be told apart from another, or holds something else, or the tables name other classes.
    """
    first_name, first = next(iter(tables.items()))
    features = _features(first.schema)
    images = image_column or _find("image", first.schema, features, "Image", _IMAGE_NAMES)
    labels = label_column or _find("label", first.schema, features, "ClassLabel", _LABEL_NAMES)
    for split, table in tables.items():
        absent = [column for column in (images, labels, group_column) if column is not None and column not in table.column_names]
        if absent:
            raise DataError(
                f"given a table without the columns {', '.join(absent)} ({split}); expected one of {', '.join(table.column_names)}: "
                "name it with image_column, label_column or group_column"
            )
    tables = {split: _renumbered(table, split, first, first_name, labels) for split, table in tables.items()}
    splits, remarks = {}, list(notes)
    trained = first[labels].to_pylist()
    for split, table in tables.items():
        values = table[labels].to_pylist()
        # -1 is the Hub's mark for a label that is kept secret, unless it is a class among others.
        unlabelled = [mark for mark in (None, -1) if mark not in trained]
        if values and all(value in unlabelled for value in values):
            remarks.append(f"{split} has no labels ({len(values)} rows) and is left out")
            continue
        encoded, paths = _images(table[images], folder, f"{images} ({split})")
        named = all(path and len(path) <= _LONGEST_PATH for path in paths) and len(set(paths)) == len(paths)
        splits[split] = Rows(
            images=encoded,
            labels=values,
            ids=[str(path) for path in paths] if named else [f"{split}[{row}]" for row in range(len(table))],
            groups=None if group_column is None else [None if group is None else str(group) for group in table[group_column].to_pylist()],
        )
    return Reading(name=name, splits=splits, class_names=features.get(labels, {}).get("names"), notes=remarks)


def joined(tables: Sequence[pa.Table], names: Sequence[str], label_column: str | None = None) -> pa.Table:
    """Tables one below the other; class numbers mean what they do in the first.

    Args:
        tables: the parts of one split, such as its shards.
        names: what their owner calls each.
        label_column: None for every column of classes.

    Raises:
        DataError: the tables name other classes.
    """
    parts = [_renumbered(table, name, tables[0], names[0], label_column) for table, name in zip(tables, names, strict=True)]
    return pa.concat_tables(parts, promote_options="permissive")


def _renumbered(table: pa.Table, name: str, first: pa.Table, first_name: str, label_column: str | None) -> pa.Table:
    """The table with the class numbers of the first: each table's metadata name its numbers, in an order of its own."""
    wanted_names, own_names = _class_names(first.schema), _class_names(table.schema)
    for column in own_names if label_column is None else [label_column]:
        wanted, own = wanted_names.get(column), own_names.get(column)
        if wanted is None or own is None or wanted == own or column not in table.column_names:
            continue
        differing = [
            f"{shown(sorted(extra))} only in {where}"
            for where, extra in ((first_name, set(wanted) - set(own)), (name, set(own) - set(wanted)))
            if extra
        ]
        if differing:
            raise DataError(
                f"given other class names of the column {column!r} in {first_name} and {name}: {'; '.join(differing)}; "
                "expected the same names, in any order: write both with all of them"
            )
        numbers = [wanted.index(class_name) for class_name in own]
        # A number without a name stays, to be told among the labels out of range.
        labels = [numbers[k] if isinstance(k, int) and 0 <= k < len(own) else k for k in table[column].to_pylist()]
        table = table.set_column(table.column_names.index(column), column, pa.array(labels))
    return table


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of each column of classes, in the order of their numbers."""
    return {column: feature["names"] for column, feature in _features(schema).items() if feature.get("names")}


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Column types as the Hugging Face ``datasets`` library notes them in a file's metadata; empty where it did not write the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {column: kind for column, kind in features.items() if isinstance(kind, dict)}


def _find(what: str, schema: pa.Schema, features: Mapping[str, Mapping[str, Any]], kind: str, usual: Sequence[str]) -> str:
    candidates = [column for column, feature in features.items() if feature.get("_type") == kind and column in schema.names]
    candidates = candidates or [column for column in usual if column in schema.names]
    if not candidates and what == "image":
        candidates = [field.name for field in schema if pa.types.is_struct(field.type) or _is_binary(field.type)]
    if len(candidates) != 1:
        found = f"several {what} columns, {', '.join(candidates)}" if candidates else f"no {what} column among {', '.join(schema.names)}"
        raise DataError(f"given {found}; expected one, called {what!r}: name it with {what}_column")
    return candidates[0]


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _images(column: pa.ChunkedArray, folder: Path | None, where: str) -> tuple[list[bytes | Path], list[str | None]]:
    """Encoded images, or paths to them, and the path that each row names."""
    kind = column.type
    encoded: list[bytes | None]
    paths: list[str | None]
    if _is_binary(kind):
        encoded, paths = column.to_pylist(), [None] * len(column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded, paths = [None] * len(column), column.to_pylist()
    elif pa.types.is_struct(kind) and {field.name for field in kind} & {"bytes", "path"}:
        fields = {field.name for field in kind}
        chunks = {
            name: [value for chunk in column.chunks for value in chunk.field(name).to_pylist()]
            for name in ("bytes", "path")
            if name in fields
        }
        encoded, paths = chunks.get("bytes", [None] * len(column)), chunks.get("path", [None] * len(column))
    else:
        raise DataError(
            f"given an image column of type {kind}: {where}; expected bytes, a path, or a struct of both: name it with image_column"
        )
    # A row with neither is an image that cannot be read.
    sources: list[bytes | Path] = [
        (folder or Path()) / path if data is None and path else data or b"" for data, path in zip(encoded, paths, strict=True)
    ]
    absent = [source for source in sources if isinstance(source, Path) and not _is_file(source)]
    if sources and len(absent) == len(sources):
        example = next(path for path in paths if path)
        long = f"{example[:40]}... ({len(example)} characters)" if len(example) > _LONGEST_PATH else absent[0]
        raise DataError(
            f"given paths only in the image column {where}, and no file at any of them, such as {long}; expected the "
            "encoded images: embed the bytes before writing the table, or put the files there"
        )
    return sources, paths


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # What is no possible path, such as a text that is too long, names no file.
        return False
