"""Drawing from many weights that keep changing."""

import numpy as np
from jaxtyping import Float, Int


class SumTree:
    """Weights w_i >= 0 in the leaves of a binary tree whose every other node is the sum of its two children.

    Both drawing and changing a weight take log2(size) operations. A parent is always computed anew from its children: sums never drift,
    and a tree that is filled again from its leaves is the same bit for bit.

    Source: Schaul et al. (2016), Prioritized experience replay, appendix B.2.1.
    """

    def __init__(self, size: int):
        self._depth = max(1, (size - 1).bit_length())
        self._first = 1 << self._depth
        self._nodes = np.zeros(2 * self._first)
        self.size = size

    @property
    def total(self) -> float:
        return float(self._nodes[1])

    def __getitem__(self, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return self._nodes[self._first + places]

    @property
    def leaves(self) -> Float[np.ndarray, " size"]:
        return self._nodes[self._first : self._first + self.size]

    def set(self, places: Int[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> None:
        """Change weights; of a place that is named twice the last one counts."""
        nodes = self._first + places
        self._nodes[nodes] = weights
        for _ in range(self._depth):
            nodes = nodes >> 1
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def set_one(self, place: int, weight: float) -> None:
        """Change one weight: the same as ``set``, without the cost of arrays."""
        node = self._first + place
        nodes = self._nodes
        nodes[node] = weight
        while node > 1:
            node >>= 1
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]

    def fill(self, weights: Float[np.ndarray, " size"]) -> None:
        """Set all weights at once."""
        self.set(np.arange(self.size), weights)

    def find(self, masses: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The leaves in which these masses lie, where each leaf takes up its weight of [0, total); never one of weight zero."""
        nodes, rest = np.ones(len(masses), dtype=np.int64), masses.copy()
        for _ in range(self._depth):
            left = 2 * nodes
            in_left = self._nodes[left]
            # Rounding can leave a rest beyond the right child's sum: a child of weight zero is never entered.
            right = (rest >= in_left) & (self._nodes[left + 1] > 0)
            rest = np.where(right, rest - in_left, rest)
            nodes = np.where(right, left + 1, left)
        return nodes - self._first
