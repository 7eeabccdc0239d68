"""What a user should know about the data before believing a number: each check returns notes, ready to be read."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

_TWELVE_BITS = 4095


def shown(items: Iterable[str], limit: int = 10) -> str:
    """The first ``limit`` items, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number and its noun."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def absent_class_notes(targets: Mapping[str, Tensor], class_names: Sequence[str]) -> list[str]:
    """One note for each split that lacks classes."""
    notes = []
    for split, labels in targets.items():
        present = torch.bincount(labels, minlength=len(class_names)) > 0
        absent = [repr(name) for name, there in zip(class_names, present.tolist(), strict=True) if not there]
        meaning = "no model can learn them" if split == "train" else "nothing is measured there about them"
        if absent:
            notes.append(f"{split} has no images of {len(absent)} of {len(class_names)} classes, {meaning}: {shown(absent)}")
    return notes


def single_image_notes(labels: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """A note on the classes that have one image in the whole task."""
    counts = torch.bincount(torch.tensor(labels), minlength=len(class_names)).tolist()
    single = [repr(name) for name, count in zip(class_names, counts, strict=True) if count == 1]
    if not single:
        return []
    return [
        f"{counted(len(single), 'class', 'classes')} with a single image, which goes to train unless the source says otherwise, so nothing "
        f"measures it; add images or remove the class: {shown(single)}"
    ]


def duplicate_notes(
    keys: Sequence[str], labels: Sequence[int], splits: Sequence[str], ids: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Notes on the same image under two classes and in two splits.

    Args:
        keys: content hash of each image.
        labels: class of each image.
        splits: name of the split each image is in.
        ids: what its owner calls each image.
        names: the class names.
    """
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    notes = []
    conflicts = [rows for rows in repeated if len({labels[row] for row in rows}) > 1]
    if conflicts:
        listed = (" = ".join(f"{ids[row]} ({names[labels[row]]})" for row in rows) for rows in conflicts)
        notes.append(f"{counted(len(conflicts), 'image')} in two classes, byte for byte; correct the labels: {shown(listed)}")
    for first, second in combinations(("train", "val", "test"), 2):
        leaks = [
            [row for row in rows if splits[row] in (first, second)] for rows in repeated if {first, second} <= {splits[row] for row in rows}
        ]
        if leaks:
            listed = (" = ".join(f"{ids[row]} ({splits[row]})" for row in rows) for rows in leaks)
            notes.append(
                f"{counted(len(leaks), 'image')} both in {first} and {second}, so {second} scores are too high; remove one: {shown(listed)}"
            )
    return notes


def depth_notes(highest: Sequence[int]) -> list[str]:
    """A note where no image of 16 bits uses more than 12 of them.

    Args:
        highest: the largest value of each such image.
    """
    most = max(highest, default=_TWELVE_BITS + 1)
    if most > _TWELVE_BITS:
        return []
    return [
        f"{counted(len(highest), 'image')} of 16 bits without a value above {most}, as if made of 12 bits: scaled from 0..65535 to 0..255, "
        f"at most {(most + 128) // 257 + 1} grey values are left; multiply the values (those of 12 bits by 16) and save the images again"
    ]


def shared_group_notes(groups: Sequence[str | None], splits: Sequence[str]) -> list[str]:
    """Notes on groups that the source itself put into two splits."""
    splits_of: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        if group is not None:
            splits_of.setdefault(group, set()).add(split)
    notes = []
    for first, second in combinations(("train", "val", "test"), 2):
        shared = sorted(group for group, found in splits_of.items() if {first, second} <= found)
        if shared:
            notes.append(f"{counted(len(shared), 'group')} both in {first} and {second}; {second} scores may be too high: {shown(shared)}")
    return notes
