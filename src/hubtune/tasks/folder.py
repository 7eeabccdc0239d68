"""A folder of images: a subfolder for each class, alone or inside train / val / test folders."""

import os
import re
from collections import Counter
from pathlib import Path

from hubtune.errors import ConfigurationError, DataError
from hubtune.runs import as_text
from hubtune.tasks.checks import counted, shown
from hubtune.tasks.reading import Reading, Rows, existing, split_named

IMAGE_SUFFIXES = frozenset(
    [
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".tga",
        ".avif",
        ".ico",
        ".pcx",
    ]
)
_LAYOUT = "a subfolder for each class that holds its images, or train, val and test folders of such subfolders"


def read(location: str, *, group_regex: str | None = None) -> Reading:
    """Read a folder of images.

    Every file with an image's suffix below a class folder, however deep, is an image of that class. Files have no order that means
    anything, so neither their names nor the order of listing decides about splits. Hidden files and folders are passed over.

    Args:
        location: the folder.
        group_regex: a regular expression searched in each image's path within its class folder; what it finds (its first group, where
            it has one) names the image's group, such as a patient or a video, which is never cut apart. No match: a group of its own.

    Raises:
        DataError: no folder, no images, or none in class folders.
    """
    folder = existing(location, "a folder of images")
    if not folder.is_dir():
        raise DataError(f"given the file {location!r}; expected a folder, with {_LAYOUT}: give the folder that its images are in")
    pattern = _compiled(group_regex)
    roots, notes = _split_roots(folder)
    splits: dict[str, Rows] = {}
    empty: set[str] = set()
    others: Counter[str] = Counter()
    for split, root in roots.items():
        classes = {entry.name: _files_below(entry) for entry in _subfolders(root)}
        images = [(name, path) for name, paths in classes.items() for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
        others.update(
            as_text(path.suffix or path.name) for paths in classes.values() for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES
        )
        empty |= {as_text(name) for name in classes}
        loose = [path.name for path in _files_in(root) if path.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            found = f"{counted(len(loose), 'image')} directly in it" if loose else "no images"
            raise DataError(f"given the folder {str(root)!r} with {found}; expected {_LAYOUT}: sort the images into class folders")
        if loose:
            notes.append(
                f"{counted(len(loose), 'image')} beside the class folders of {root.name} left out, without a class: {shown(loose)}"
            )
        inside = [path.relative_to(root / name).as_posix() for name, path in images]
        splits[split] = Rows(
            images=[path for _, path in images],
            labels=[as_text(name) for name, _ in images],
            ids=[as_text(path.relative_to(folder).as_posix()) for _, path in images],
            groups=None if pattern is None else [_group(pattern, text) for text in inside],
        )
    empty -= {label for rows in splits.values() for label in rows.labels}
    if empty:
        notes.append(f"{counted(len(empty), 'folder')} without images left out: {shown(sorted(empty))}")
    if others:
        listed = shown(f"{suffix} ({count})" for suffix, count in others.most_common())
        notes.append(f"{counted(others.total(), 'file')} left out, being no images by name: {listed}")
    return Reading(name=folder.resolve().name, splits=splits, ordered=False, notes=notes)


def _split_roots(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split; the whole folder stands for train where there are no split folders."""
    subfolders = _subfolders(folder)
    roots: dict[str, Path] = {}
    for entry in subfolders:
        split = split_named(entry.name)
        # A class may be called "train": it holds images, where a split holds folders.
        if split is None or any(path.suffix.lower() in IMAGE_SUFFIXES for path in _files_in(entry)) or not _subfolders(entry):
            continue
        if split in roots:
            raise DataError(
                f"given both {roots[split].name!r} and {entry.name!r} in {str(folder)!r}; expected one {split} folder: merge them"
            )
        roots[split] = entry
    if not roots:
        return {"train": folder}, []
    if "train" not in roots:
        raise DataError(f"given {shown(root.name for root in roots.values())} and no train folder in {str(folder)!r}; expected {_LAYOUT}")
    rest = [entry.name for entry in subfolders if entry not in roots.values()]
    notes = [f"{counted(len(rest), 'folder')} beside the splits left out: {shown(rest)}"] if rest else []
    return roots, notes


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _files_in(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and not _hidden(entry.name))


def _files_below(folder: Path) -> list[Path]:
    """All files, sorted, through links to folders as well; a link back to where the walk came from is not followed."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not _hidden(name)]
        if real not in seen:
            found.extend(Path(place, name) for name in files if not _hidden(name))
        seen.add(real)
    return sorted(found)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _compiled(group_regex: str | None) -> re.Pattern[str] | None:
    if group_regex is None:
        return None
    try:
        return re.compile(group_regex)
    except (re.error, TypeError) as error:
        raise ConfigurationError(
            f"group_regex={group_regex!r} is no regular expression ({error}); expected one such as '^(patient\\d+)_'"
        ) from error


def _group(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    if found is None:
        return None
    return found.group(1) if pattern.groups else found.group(0)
