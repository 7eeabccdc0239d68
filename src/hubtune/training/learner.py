"""One training process, as the loop sees it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int, UInt8
from torch import Tensor

from hubtune.training.predictor import Predictor


@dataclass(frozen=True)
class Batch:
    """Rows of a split, augmented once for all models."""

    canvas: UInt8[Tensor, "B c H W"]
    targets: Tensor
    """What the task's loss takes: (B,) class indices, or whatever the task's kind of target is."""
    indices: Int[Tensor, " B"]
    """Rows of the split; a learner with per-image state (a cache, a priority) knows an image by its row."""

    def __len__(self) -> int:
        return len(self.canvas)

    def rows(self, start: int, stop: int) -> "Batch":
        return Batch(self.canvas[start:stop], self.targets[start:stop], self.indices[start:stop])


class Learner(ABC):
    """Owns its networks, optimizers and schedules; knows nothing of files, progress or evaluation."""

    steps: int
    """Length of the schedule."""

    @abstractmethod
    def step(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """One step of training.

        Args:
            batch: on the learner's device.
            progress: the share of the schedule that is done, in [0, 1).

        Returns:
            Scalars by name, on the device (no host synchronisation); ``loss`` among them.
        """

    @abstractmethod
    def predictor(self) -> Predictor:
        """What is deployed: without meta-networks and teachers. Shares the learner's weights."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All of the state, optimizers included, such that a resumed training equals an undisturbed one bit for bit."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def finish(self, batches: Iterable[Batch]) -> None:
        """What follows the last step, such as re-estimating BatchNorm statistics; nothing by default."""

    def summary(self) -> dict[str, Any]:
        """What the training found beside weights and metrics, as JSON, for the record; ``warnings`` in it is a list of sentences."""
        return {}

    def pictures(self, batch: Batch) -> dict[str, UInt8[Tensor, "3 H W"]]:
        """Pictures of what was learnt, by name, for the report; none by default. Called once, in the main process, after the training.

        Args:
            batch: a few validation images, not augmented, on the learner's device.
        """
        return {}

    def halve_chunks(self) -> bool:
        """Work through a batch in chunks half as large, gradients accumulated, after memory ran out.

        Returns:
            False where the chunks cannot get smaller.
        """
        return False
