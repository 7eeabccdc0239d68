"""What a source hands over: rows as they were found, before any image is opened."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubtune.errors import DataError
from hubtune.tasks.images import ImageSource

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_SPLIT_PATTERN = re.compile(rf"(?:^|[^a-z])({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})(?:[^a-z]|$)")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one split; final."""

    images: Sequence[ImageSource]
    labels: Sequence[Any]
    """class indices where the reading has class names; else anything whose distinct values are the classes"""
    ids: Sequence[str]
    """what the data's owner would call each image"""
    groups: Sequence[str | None] | None = None
    """what must not be cut apart; None for an image on its own"""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a source found; final."""

    name: str
    splits: Mapping[str, Rows]
    """"train" and, where the source has them, "val" and "test" """
    class_names: Sequence[str] | None = None
    """None where the labels themselves are the names"""
    ordered: bool = True
    """whether the order of the rows means something"""
    notes: Sequence[str] = ()


def split_named(text: str) -> str | None:
    """ "train", "val" or "test" where the whole text is a name of one."""
    return _SPLIT_WORDS.get(text.lower())


def split_in(text: str) -> str | None:
    """ "train", "val" or "test" where a word of the text names one, as in "train-00000-of-00002"."""
    found = _SPLIT_PATTERN.search(text.lower())
    return _SPLIT_WORDS[found.group(1)] if found else None


def found_at(location: str | Path) -> Path | None:
    """The path, expanded, where there is something."""
    try:
        path = Path(location).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):
        # What is no possible path, being too long or in the home of nobody.
        return None


def existing(location: str, expected: str) -> Path:
    """The path, expanded.

    Raises:
        DataError: there is nothing there.
    """
    path = found_at(location)
    if path is None:
        raise DataError(f"given {location!r}, where there is nothing; expected {expected}: check the path (relative to {Path.cwd()})")
    return path
