"""Batches as a function of the step: to resume, a training needs to know no more than how far it was."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from hubtune.tasks import Split, Task
from hubtune.training.learner import Batch
from hubtune.training.seeds import derive


@lru_cache(maxsize=4)
def _permutation(rows: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(derive(seed, "epoch", epoch)))


@dataclass(frozen=True, kw_only=True)
class Batches:
    """An endless stream of batches over a training split, one permutation after another, every batch full."""

    task: Task
    split: Split
    canvas_size: int | None
    batch_size: int
    seed: int
    device: torch.device | str = "cpu"
    augment: bool = True

    def __call__(self, step: int) -> Batch:
        """The batch of a step: the same whenever and in whatever order it is asked for."""
        rows = len(self.split)
        size = min(self.batch_size, rows)
        first, last = divmod(step * size, rows), divmod((step + 1) * size - 1, rows)
        indices = torch.cat([_permutation(rows, self.seed, epoch) for epoch in range(first[0], last[0] + 1)])[first[1] : first[1] + size]
        canvas = self.split.canvas(indices.tolist(), self.canvas_size).to(self.device)
        targets = self.split.targets[indices].to(self.device)
        if self.augment:
            generator = torch.Generator(self.device).manual_seed(derive(self.seed, "augment", step))
            canvas, targets = self.task.augment(canvas, targets, generator)
        return Batch(canvas, targets, indices)
