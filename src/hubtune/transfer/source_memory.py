"""What frozen sources say of a training image does not change: it is computed once where the same image comes again."""

import torch
from torch import Tensor

from hubtune.tasks import Task
from hubtune.training.evaluation import is_out_of_memory
from hubtune.training.learner import Batch
from hubtune.transfer.networks import Observation, Sources

LIMIT = 1_000_000_000
"""Bytes that may be kept."""
CHUNK = 64
"""Images of a forward pass: always the same ones together, so that a resumed training finds the same numbers."""
REFLECTIONS = {"none": 1, "flip": 2}
"""Augmentations after which an image is one of few, and how many: itself, or its mirror image as well."""


class SourceMemory:
    """The sources' maps and logits of a batch: looked up where the augmentation is none or flip, else computed.

    Kept are those of every training image, and of its mirror image under flip, from the first batch on. They are computed as ever where
    the images come too seldom for that to pay, or where what is kept would be larger than LIMIT.

    Args:
        sources: frozen.
        task: whose training images the batches hold.
        canvas_size: side in pixels of the batches' images; None is the task's native size.
        steps: of the training.
    """

    def __init__(self, sources: Sources, task: Task, canvas_size: int | None, steps: int):
        self._sources = sources
        self._split = task.train
        self._canvas_size = canvas_size
        self._steps = steps
        self._reflections = REFLECTIONS.get(str(getattr(task, "augmentation", None)), 0)
        self._canvas: Tensor | None = None
        self._kept: list[Observation] = []

    def __call__(self, batch: Batch, *, maps: bool = True, logits: bool = False) -> list[Observation]:
        """Maps and logits of each source, on the canvas's device, in float32."""
        if self._canvas is None and self._pays(batch):
            self._fill(batch, maps, logits)
        if self._canvas is None:
            return self._sources(batch.canvas, maps=maps, logits=logits)
        rows = batch.indices.to(batch.canvas.device)
        mirrored = (batch.canvas != self._canvas[rows]).flatten(1).any(1)
        rows = rows + len(self._split) * mirrored
        return [
            Observation(
                maps=[x[rows] for x in seen.maps],
                logits=None if seen.logits is None else seen.logits[rows],
            )
            for seen in self._kept
        ]

    def _pays(self, batch: Batch) -> bool:
        return bool(self._reflections) and self._steps * len(batch) >= 2 * self._reflections * len(self._split)

    def _fill(self, batch: Batch, maps: bool, logits: bool) -> None:
        """Compute everything, unless it turns out too large; then never ask again."""
        reflections, self._reflections = self._reflections, 0
        chunks = [list(range(start, min(start + CHUNK, len(self._split)))) for start in range(0, len(self._split), CHUNK)]
        canvases: list[Tensor] = []
        parts: list[list[Observation]] = []
        try:
            for mirror in range(reflections):
                for number, rows in enumerate(chunks):
                    if not mirror:
                        canvases.append(self._split.canvas(rows, self._canvas_size).to(batch.canvas.device))
                    canvas = canvases[number]
                    parts.append(self._sources(canvas.flip(-1) if mirror else canvas, maps=maps, logits=logits))
                    images = len(self._split) * reflections
                    if _bytes(parts[0]) / len(canvases[0]) * images + images * canvas[0].numel() > LIMIT:
                        return
            self._kept = [_joined(list(seen)) for seen in zip(*parts, strict=True)]
            self._canvas = torch.cat(canvases)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._kept = []


def _bytes(observations: list[Observation]) -> int:
    tensors = [x for seen in observations for x in (*seen.maps, seen.logits) if x is not None]
    return sum(x.numel() * x.element_size() for x in tensors)


def _joined(parts: list[Observation]) -> Observation:
    logits = [part.logits for part in parts if part.logits is not None]
    return Observation(
        maps=[torch.cat(maps) for maps in zip(*(part.maps for part in parts), strict=True)], logits=torch.cat(logits) if logits else None
    )
