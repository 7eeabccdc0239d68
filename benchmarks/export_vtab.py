"""VTAB's data sets from TensorFlow Datasets as parquet files, for ``Task.open("vtab:NAME@FOLDER")``.

Command:   pip install tensorflow tensorflow-datasets
           python benchmarks/export_vtab.py FOLDER [NAME ...]     (names of tasks; all 19 by default)
Writes:    FOLDER/DATASET/SPLIT.parquet: the whole splits, in TensorFlow Datasets' order, with the encoded images and the features that
           labels are made of. TensorFlow Datasets downloads what it needs; retinopathy and resisc45 are fetched by hand, as it says.
Expected:  the rows of each split that hubtune.tasks.vtab_tasks lists; hubtune checks them when a task is opened.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hubtune.tasks.vtab_tasks import TASKS, VtabTask

ROWS = 1000  # of a row group


def data_sets(names: list[str]) -> list[tuple[VtabTask, set[str]]]:
    """One task of each data set that the named tasks need, and every feature that the labels of these tasks are made of."""
    wanted: dict[str, tuple[VtabTask, set[str]]] = {}
    for name in names:
        wanted.setdefault(TASKS[name].dataset, (TASKS[name], set()))[1].add(TASKS[name].label)
    return list(wanted.values())


def plain(value: Any) -> Any:
    """Arrays and numbers of NumPy as lists and numbers, at any depth."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def batches(examples: Iterator[dict[str, Any]], columns: set[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows with the encoded image and the columns, so many at a time."""
    batch = []
    for example in examples:
        batch.append({column: plain(example[column]) for column in ("image", *sorted(columns))})
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def export(task: VtabTask, columns: set[str], folder: Path) -> None:
    """Write every split of a data set that the benchmark reads."""
    import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]

    builder = tfds.builder(task.dataset)
    builder.download_and_prepare()
    place = folder / task.dataset.partition(":")[0].partition("/")[0]
    place.mkdir(parents=True, exist_ok=True)
    for split in task.sizes:
        # Read shard after shard: interleaved, rows would come in another order than the one that slices count in.
        config = tfds.ReadConfig(interleave_cycle_length=1)
        decoders = {"image": tfds.decode.SkipDecoding()}
        examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=config))
        temporary, writer = place / f".{split}.parquet", None
        for batch in batches(iter(examples), columns):
            table = pa.Table.from_pylist(batch, schema=writer.schema if writer else None)
            if writer is None:
                mark = f"{task.dataset.partition(':')[0]}:{builder.version}"
                writer = pq.ParquetWriter(temporary, table.schema.with_metadata({"tfds": mark}))
            writer.write_table(table.cast(writer.schema))
        if writer is not None:
            writer.close()
            temporary.rename(place / f"{split}.parquet")
            print(f"{task.dataset} {split}: {place / f'{split}.parquet'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"tasks, all by default: {', '.join(TASKS)}")
    arguments = parser.parse_args()
    for task, columns in data_sets(arguments.names or list(TASKS)):
        export(task, columns, arguments.folder)


if __name__ == "__main__":
    main()
