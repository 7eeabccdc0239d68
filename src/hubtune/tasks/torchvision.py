"""The datasets of torchvision."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hubtune.errors import DataError, unknown_name
from hubtune.tasks.images import stack_to_rgb
from hubtune.tasks.reading import Reading, Rows

# What the datasets call their splits; the first that the dataset accepts is used.
_SPLIT_VALUES = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test",)}


class _Item:
    """One image of a dataset that opens its images itself; final."""

    def __init__(self, dataset: Any, index: int):
        self.dataset = dataset
        self.index = index

    def load(self) -> Image.Image:
        return self.dataset[self.index][0]


def read(location: str, *, root: str | Path | None = None, download: bool = True) -> Reading:
    """Read a classification dataset of torchvision.datasets.

    Its own splits are kept; where it has none, all rows are training rows. Images that it holds as arrays are used as they are, others
    are opened when asked for.

    Args:
        location: the class' name, such as "CIFAR10".
        root: the folder its files are in; default: the folder ``datasets`` in torch's home (``TORCH_HOME``, else ``~/.cache/torch``).
        download: whether to fetch files that are not there; never done where ``HF_HUB_OFFLINE`` is set.

    Raises:
        DataError: the files are not there and cannot be fetched, or the dataset is of another kind.
        UnknownNameError: torchvision has no such dataset.
    """
    from torchvision import datasets  # Its import takes as long as torch's.

    if location not in datasets.__all__:
        raise unknown_name("torchvision dataset", location, datasets.__all__)
    dataset_class = getattr(datasets, location)
    place = Path(root).expanduser() if root is not None else Path(torch.hub.get_dir()).parent / "datasets"
    splits: dict[str, Rows] = {}
    names: list[str] | None = None
    for split, dataset in _made(dataset_class, place, download and not _offline()).items():
        labels = _labels(dataset)
        splits[split] = Rows(images=_images(dataset), labels=labels, ids=[f"{split}[{row}]" for row in range(len(labels))])
        names = names or _class_names(dataset)
    if "train" not in splits:
        raise DataError(f"torchvision's {location} has no training split; expected a dataset of labelled images to train on")
    most = max(label for rows in splits.values() for label in rows.labels)
    return Reading(name=location, splits=splits, class_names=names if names is not None and most < len(names) else None)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _made(dataset_class: Callable[..., Any], root: Path, download: bool) -> dict[str, Any]:
    """The dataset's splits by our names."""
    name = dataset_class.__name__
    parameters = {key: value for key, value in inspect.signature(dataset_class).parameters.items() if value.kind is not value.VAR_KEYWORD}
    needed = [key for key, value in parameters.items() if value.default is value.empty and key != "root"]
    if needed:
        raise DataError(f"torchvision's {name} needs {', '.join(needed)}; expected a dataset that is made from a root folder alone")
    common = {"root": str(root)} if "root" in parameters else {}
    if "train" in parameters:
        wanted = {"train": [{"train": True}], "test": [{"train": False}]}
    elif "split" in parameters:
        wanted = {split: [{"split": value} for value in values] for split, values in _SPLIT_VALUES.items()}
    else:
        wanted = {"train": [{}]}
    can_download = download and "download" in parameters
    made = {}
    for split, choices in wanted.items():
        for choice in choices:
            try:
                made[split] = _make(dataset_class, {**common, **choice}, "download" in parameters, can_download)
                break
            except ValueError:
                # The dataset does not know this split.
                continue
    return made


def _make(dataset_class: Callable[..., Any], arguments: Mapping[str, Any], downloads: bool, download: bool) -> Any:
    name, place = dataset_class.__name__, arguments.get("root")
    try:
        return dataset_class(**arguments, **({"download": False} if downloads else {}))
    except (RuntimeError, OSError, ImportError) as error:
        if not download:
            raise DataError(
                f"torchvision's {name} is not in {place!r} ({_first_line(error)}), and downloading it is not allowed or not possible here; "
                "expected its files there: name their folder with root, or go online (unset HF_HUB_OFFLINE) with download=True"
            ) from error
    try:
        Path(str(place)).mkdir(parents=True, exist_ok=True)
        return dataset_class(**arguments, download=True)
    except (RuntimeError, OSError, ImportError) as error:
        raise DataError(
            f"torchvision's {name} is not in {place!r} and could not be downloaded ({_first_line(error)}): check the network, "
            "or put its files there, or name their folder with root"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _images(dataset: Any) -> list[Any]:
    data = getattr(dataset, "data", None)
    array = data.numpy() if isinstance(data, torch.Tensor) else data
    if isinstance(array, np.ndarray) and array.ndim in (3, 4) and len(array) == len(dataset):
        return list(stack_to_rgb(array))
    return [_Item(dataset, index) for index in range(len(dataset))]


def _labels(dataset: Any) -> list[int]:
    for attribute in ("targets", "labels", "_labels", "y"):
        values = getattr(dataset, attribute, None)
        if values is not None and len(values) == len(dataset):
            break
    else:
        values = [dataset[index][1] for index in range(len(dataset))]
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise DataError(
            f"the targets of torchvision's {type(dataset).__name__} have shape {values.shape} and type {values.dtype}; "
            "expected one class number for each image: choose a classification dataset"
        )
    return values.tolist()


def _class_names(dataset: Any) -> list[str] | None:
    classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if not isinstance(classes, list | tuple):
        return None
    # ImageNet has several words for each class.
    return [", ".join(entry) if isinstance(entry, tuple) else str(entry) for entry in classes]
