"""Datasets of the Hugging Face Hub."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from hubtune.errors import DataError, MissingExtraError
from hubtune.tasks.checks import shown
from hubtune.tasks.columns import read_tables
from hubtune.tasks.reading import Reading, split_in

_ON = ("1", "ON", "YES", "TRUE")


def read(location: str, *, image_column: str | None = None, label_column: str | None = None, group_column: str | None = None) -> Reading:
    """Read an image classification dataset of the Hugging Face Hub with the ``datasets`` library (the extra ``hf``).

    Args:
        location: "ORG/NAME", or "ORG/NAME:CONFIGURATION" where the dataset has several; a local copy's folder works as well.
        image_column, label_column: the columns, where their types and names do not tell.
        group_column: rows with the same value there are never cut apart.

    Raises:
        DataError: it cannot be had, or holds something else.
        MissingExtraError: ``datasets`` is not installed.
    """
    if importlib.util.find_spec("datasets") is None:
        raise MissingExtraError("datasets", "hf")
    name, _, configuration = location.partition(":")
    _check_reachable(name)
    from datasets import load_dataset  # pyright: ignore[reportMissingImports]

    try:
        loaded = load_dataset(name, configuration or None)
    except Exception as error:  # The library raises what its many back ends raise.
        raise DataError(
            f"the dataset {location!r} cannot be loaded ({type(error).__name__}: {error}); "
            "expected hf:ORG/NAME or hf:ORG/NAME:CONFIGURATION: check the name on huggingface.co/datasets, and the network"
        ) from error
    found: dict[str, Any] = {}
    notes = []
    for key, part in loaded.items():
        split = split_in(str(key))
        if split is None or split in found:
            notes.append(f"the split {str(key)!r} is left out")
        else:
            found[split] = part
    if "train" not in found:
        raise DataError(f"the dataset {location!r} has the splits {shown(map(str, loaded))}; expected one for training")
    tables = {}
    for split in ("train", "val", "test"):
        if split in found:
            part = found[split]
            tables[split] = part.with_format("arrow")[:].replace_schema_metadata(part.features.arrow_schema.metadata)
    return read_tables(
        name,
        tables,
        folder=None,
        image_column=image_column,
        label_column=label_column,
        group_column=group_column,
        notes=notes,
    )


def _check_reachable(name: str) -> None:
    """Fail at once where the library would ask in vain: offline its own retries take 20 seconds."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
    stored = {entry.name.lower() for entry in cache.iterdir()} if cache.is_dir() else set()
    if Path(name).exists() or name.replace("/", "___").lower() in stored:
        return
    remedy = f"expected a copy in {str(cache)!r}: {{}}go online once, or open local files (a folder of images or of parquet files)"
    switches = [switch for switch in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE") if os.environ.get(switch, "").upper() in _ON]
    if switches:
        raise DataError(
            f"the dataset {name!r} is not on this machine, and {switches[0]} forbids fetching it; "
            + remedy.format(f"unset {switches[0]} and ")
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(name, timeout=10)
    except HfHubHTTPError:
        # The Hub answered; loading says what is wrong in the library's own words.
        return
    except Exception as error:  # Which one depends on the HTTP library.
        raise DataError(
            f"the dataset {name!r} is not on this machine, and the Hub does not answer ({error}); " + remedy.format("")
        ) from error
