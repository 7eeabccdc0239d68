"""What an agent has seen, and what it should see again."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from hubtune.rl.sum_tree import SumTree
from hubtune.training.learner import Batch

CHUNK = 1024
"""Frames that are compressed together in a checkpoint, and only once."""


@dataclass(frozen=True)
class Transitions(Batch):
    """Steps of the past: stacks of frames, what was done, and what came of it within n steps.

    ``targets`` are the actions, ``indices`` the places in the replay.
    """

    returns: Float[Tensor, " B"]
    """sum_k gamma^k r_(t+k) over n steps, or up to the end of the episode."""
    discounts: Float[Tensor, " B"]
    """gamma^n, or 0 where the episode ended within n steps."""
    later: UInt8[Tensor, "B c H W"]
    """The stacks n steps later."""
    weights: Float[Tensor, " B"]
    """Importance weights, the largest of the batch 1."""


class Replay:
    """A ring of single frames from which stacks, n-step returns and priorities are made when they are asked for.

    Row t holds the newest frame of s_t, a_t, r_t, whether the episode ended with a_t, and whether s_t begins a game. A row can be drawn
    once the row n steps later is there, first with the largest priority so far; rows whose stack or returns the ring has begun to
    overwrite cannot be drawn any more, nor can rows less than n steps before a time limit, behind which no state is known.

    Source: Schaul et al. (2016), Prioritized experience replay, section 3.3 (proportional, stratified); Hessel et al. (2018), Rainbow.
    """

    def __init__(self, capacity: int, side: int, *, history: int, n_step: int, discount: float, exponent: float):
        """
        Args:
            capacity: rows.
            side: of a frame in pixels.
            history: frames in a stack.
            n_step: n.
            discount: gamma.
            exponent: omega; a loss l has the priority l^omega.
        """
        self.capacity, self.history, self.n_step, self.discount, self._exponent = capacity, history, n_step, discount, exponent
        self.frames: UInt8[np.ndarray, "capacity s s"] = np.zeros((capacity, side, side), dtype=np.uint8)
        self.actions = np.zeros(capacity, dtype=np.int64)
        self.rewards = np.zeros(capacity, dtype=np.float32)
        self.ended = np.zeros(capacity, dtype=bool)
        self.cut = np.zeros(capacity, dtype=bool)
        self.first = np.zeros(capacity, dtype=bool)
        self.tree = SumTree(capacity)
        self.count = 0
        """Rows ever added."""
        self.largest = 1.0
        self._discounts = discount ** np.arange(n_step + 1)
        self._compressed: dict[int, Tensor] = {}

    def add(self, frame: UInt8[np.ndarray, "s s"], action: int, reward: float, *, ended: bool, cut: bool, first: bool) -> None:
        """Add a row.

        Args:
            ended: the episode ended with the action, as far as learning goes.
            cut: a time limit ended the game.
            first: the frame begins a game.
        """
        t, row = self.count, self.count % self.capacity
        self.frames[row] = frame
        self.actions[row], self.rewards[row], self.ended[row], self.cut[row], self.first[row] = action, reward, ended, cut, first
        self.count += 1
        if t >= self.capacity:  # the stacks of these rows began with a frame that is gone now
            self.tree.set((t + np.arange(self.history)) % self.capacity, np.zeros(self.history))
        if t >= self.n_step:
            start = t - self.n_step
            rows = np.arange(start, t) % self.capacity
            ends = np.flatnonzero(self.ended[rows])
            reached = rows[: ends[0] + 1] if len(ends) else rows
            unknown = bool((self.cut[reached] & ~self.ended[reached]).any())
            self.tree.set_one(int(rows[0]), 0.0 if unknown else self.largest)

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    @property
    def ready(self) -> bool:
        """Whether any row can be drawn."""
        return not self.tree.total <= 0  # a priority that is no number must not end the learning unnoticed

    def stacks(self, places: Int[np.ndarray, " B"]) -> UInt8[np.ndarray, "B c s s"]:
        """The frames up to these rows, oldest first; black before a game began."""
        offsets = np.arange(-self.history + 1, 1)
        rows = (places[:, None] + offsets) % self.capacity
        seen = self._seen(rows)
        stacks = self.frames[rows]
        stacks[~seen] = 0
        return stacks

    def _seen(self, rows: Int[np.ndarray, "B c"]) -> Bool[np.ndarray, "B c"]:
        """Whether no game began behind a row of the stack."""
        begins = self.first[rows]
        later = np.cumsum(begins[:, ::-1], axis=1)[:, ::-1] - begins
        return later == 0

    def outlook(self, places: Int[np.ndarray, " B"]) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
        """n-step returns, and the discounts of what follows."""
        rows = (places[:, None] + np.arange(self.n_step)) % self.capacity
        ended = self.ended[rows]
        before = np.cumsum(ended, axis=1) - ended
        counted = np.where(before == 0, self.rewards[rows], 0)
        returns = (counted * self._discounts[: self.n_step]).sum(1)
        return returns.astype(np.float32), np.where(ended.any(1), 0, self._discounts[self.n_step]).astype(np.float32)

    def draw(self, size: int, importance: float, device: torch.device) -> Transitions:
        """Rows with probabilities in proportion to their priorities, one from each of ``size`` equal slices of the total.

        Args:
            importance: beta; weights are (1 / p)^beta.
        """
        slices = (np.arange(size) + torch.rand(size, dtype=torch.float64).numpy()) * (self.tree.total / size)
        places = self.tree.find(slices)
        weights = self.tree[places] ** -importance
        returns, discounts = self.outlook(places)

        def send(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        return Transitions(
            canvas=send(self.stacks(places)),
            targets=send(self.actions[places]),
            indices=torch.from_numpy(places),
            returns=send(returns),
            discounts=send(discounts),
            later=send(self.stacks((places + self.n_step) % self.capacity)),
            weights=send((weights / weights.max()).astype(np.float32)),
        )

    def learned(self, places: Int[Tensor, " B"], losses: Float[Tensor, " B"]) -> None:
        """Give rows the priorities that follow from their losses."""
        priorities = np.maximum(losses.detach().double().cpu().numpy(), 1e-10) ** self._exponent
        self.tree.set(places.numpy(), priorities)
        self.largest = max(self.largest, float(priorities.max()))

    def state_dict(self) -> dict[str, Any]:
        """All rows; frames are compressed."""
        rows = len(self)
        kept = {name: torch.from_numpy(getattr(self, name)[:rows].copy()) for name in ("actions", "rewards", "ended", "cut", "first")}
        return {
            **kept,
            "count": self.count,
            "largest": self.largest,
            "priorities": torch.from_numpy(self.tree.leaves[:rows].copy()),
            "frames": self._compress(),
        }

    def _compress(self) -> dict[int, Tensor]:
        """Chunks of frames by the number of their first row ever added; a full chunk is compressed once."""
        first = (self.count - len(self)) // CHUNK
        chunks = {}
        for chunk in range(first, -(-self.count // CHUNK)):
            if chunk in self._compressed:
                chunks[chunk] = self._compressed[chunk]
                continue
            start, stop = max(chunk * CHUNK, self.count - len(self)), min((chunk + 1) * CHUNK, self.count)
            frames = self.frames[np.arange(start, stop) % self.capacity]
            packed = torch.frombuffer(bytearray(zlib.compress(frames.tobytes(), level=1)), dtype=torch.uint8)
            chunks[chunk] = packed
            if stop - start == CHUNK:
                self._compressed[chunk] = packed
        self._compressed = {chunk: packed for chunk, packed in self._compressed.items() if chunk >= first}
        return chunks

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the rows that ``state_dict`` returned."""
        rows = len(state["actions"])
        for name in ("actions", "rewards", "ended", "cut", "first"):
            getattr(self, name)[:rows] = state[name].cpu().numpy()
        self.count, self.largest = state["count"], state["largest"]
        self.tree.fill(np.concatenate([state["priorities"].cpu().numpy(), np.zeros(self.capacity - rows)]))
        self._compressed = {}
        for chunk, packed in state["frames"].items():
            packed = packed.cpu()
            frames = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), dtype=np.uint8).reshape(-1, *self.frames.shape[1:])
            stop = min((chunk + 1) * CHUNK, self.count)
            # Of a chunk whose beginning the ring has overwritten, the end is kept.
            kept = frames[-min(len(frames), stop - (self.count - rows)) :]
            self.frames[np.arange(stop - len(kept), stop) % self.capacity] = kept
            if len(frames) == CHUNK:
                self._compressed[chunk] = packed
