"""A NumPy archive with images and labels."""

import zipfile

import numpy as np
from numpy.lib.npyio import NpzFile

from hubtune.errors import DataError
from hubtune.tasks.checks import depth_notes
from hubtune.tasks.images import stack_to_rgb
from hubtune.tasks.reading import Reading, Rows, existing

# Keras' habit, then MedMNIST's, then the plain one.
_KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_EXPECTED = "x_train and y_train (and x_val, y_val, x_test, y_test), train_images and train_labels, or images and labels"


def read(location: str) -> Reading:
    """Read an .npz archive.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 to 4 channels, uint8, uint16, bool or numbers in 0..1 or 0..255; labels are
    class numbers or names, (N,) or (N, 1); ``class_names``, where it is there, names the class numbers. Rows keep their order.

    Args:
        location: the file.

    Raises:
        DataError: keys, shapes or types that cannot be used.
    """
    path = existing(location, "an .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, NpzFile):
            raise ValueError("it holds one array, as an .npy file does")
        with loaded as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{location!r} cannot be read ({error}); expected an .npz file of plain arrays: save it again with numpy.savez"
        ) from error
    splits, highest = {}, []
    for split, pairs in _KEYS.items():
        pair = next(((x, y) for x, y in pairs if x in arrays and y in arrays), None)
        if pair is not None:
            images, labels = (arrays[key] for key in pair)
            splits[split] = _rows(images, labels, split, pair)
            highest += [int(image.max()) for image in images] if images.dtype == np.uint16 else []
    if "train" not in splits:
        raise DataError(f"given the keys {', '.join(arrays) or 'none'} in {location!r}; expected {_EXPECTED}")
    names = _class_names(arrays["class_names"]) if "class_names" in arrays else None
    if names is not None and any(isinstance(label, str) for rows in splits.values() for label in rows.labels):
        raise DataError(f"given class_names and labels that are names themselves in {location!r}; expected numbers 0 to {len(names) - 1}")
    return Reading(name=path.stem, splits=splits, class_names=names, notes=depth_notes(highest))


def _class_names(names: np.ndarray) -> list[str]:
    if names.ndim != 1:
        raise DataError(f"given class_names of shape {names.shape}; expected one name for each class, (C,)")
    return [str(name) for name in names]


def _rows(images: np.ndarray, labels: np.ndarray, split: str, keys: tuple[str, str]) -> Rows:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "biuU":
        raise DataError(f"given {keys[1]} of shape {labels.shape}, {labels.dtype}; expected one class number or name for each image, (N,)")
    try:
        stack = stack_to_rgb(images)
    except DataError as error:
        raise DataError(f"{keys[0]}: {error}") from error
    if len(stack) != len(labels):
        raise DataError(f"given {len(stack)} images in {keys[0]} and {len(labels)} labels in {keys[1]}; expected as many of each")
    return Rows(images=list(stack), labels=labels.tolist(), ids=[f"{split}[{row}]" for row in range(len(labels))])
