"""Cut a held-out part off labelled rows, and put rows without an order into one.

Both depend on what the images hold and on nothing else: not on file names, on the order a file system lists them in, or on what
other images there are. Adding an image moves few others.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np


def _rank(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def quotas(counts: np.ndarray, fraction: float) -> np.ndarray:
    """How many rows of each class a cut should hold: the fraction, rounded; at least one and at most all but one where there are two."""
    rounded = np.floor(counts * fraction + 0.5).astype(np.int64)
    return np.where(counts < 2, 0, np.clip(rounded, 1, np.maximum(counts - 1, 1)))


def held_out(labels: Sequence[int] | np.ndarray, groups: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """Choose the rows of a held-out part, stratified by class, groups kept whole.

    Groups are visited in an order drawn from ``seed``; one is taken where that brings the classes it holds nearer to their quotas and
    leaves an image of each of them behind. A class whose groups are all too large for its quota then gives its smallest one.

    Args:
        labels: class of each row.
        groups: what must stay together; rows with the same text are one group.
        fraction: the part to hold out, in 0..1.
        seed: of the order of groups.

    Returns:
        (N,) bool, True where a row is held out. Where every row is its own group, each class holds out exactly its quota.
    """
    labels = np.asarray(labels, dtype=np.int64)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    order = sorted(members, key=lambda group: _rank(f"{seed} {group}"))
    content = {group: Counter(labels[rows].tolist()) for group, rows in members.items()}
    left = np.bincount(labels)
    need = quotas(left, fraction)
    wanted = need.copy()
    taken: set[str] = set()

    def take(group: str) -> None:
        taken.add(group)
        for label, count in content[group].items():
            need[label] -= count
            left[label] -= count

    def leaves_some(group: str) -> bool:
        return all(left[label] > count for label, count in content[group].items())

    for group in order:
        nearer = sum(abs(need[label]) - abs(need[label] - count) for label, count in content[group].items())
        if nearer > 0 and leaves_some(group):
            take(group)
    for label in np.flatnonzero((wanted > 0) & (need == wanted)):
        possible = [group for group in order if group not in taken and label in content[group] and leaves_some(group)]
        # An earlier class may have brought this one along.
        if possible and need[label] == wanted[label]:
            take(min(possible, key=lambda group: len(members[group])))
    mask = np.zeros(len(labels), dtype=bool)
    mask[[row for group in taken for row in members[group]]] = True
    return mask


def interleaved(labels: Sequence[int] | np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """An order in which every beginning holds the classes in their proportions.

    The i-th of the n rows of a class, in the order of their hashed keys, stands at (i + 1/2) / n.

    Args:
        labels: class of each row.
        keys: content of each row.

    Returns:
        (N,) row numbers.
    """
    labels = np.asarray(labels, dtype=np.int64)
    ranks = [_rank(key) for key in keys]
    place = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=lambda row: ranks[row])
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((labels, place))
