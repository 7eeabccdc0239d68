"""Outputs of a predictor on a whole split, and what they score."""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hubtune.errors import TrainingError
from hubtune.features import is_out_of_memory
from hubtune.tasks import Split, Task
from hubtune.training.predictor import Predictor
from hubtune.training.runtime import Runtime


@torch.inference_mode()
def outputs_of(
    predictor: nn.Module,
    split: Split,
    canvas_size: int | None,
    runtime: Runtime,
    batch_size: int = 256,
    answers: Callable[[Tensor], Tensor] = lambda outputs: outputs,
) -> Tensor:
    """Outputs on every row of a split, in order, on the CPU in float32.

    The batch is halved as often as memory runs out.

    Args:
        answers: what is kept of the outputs of a batch; all by default.

    Raises:
        TrainingError: one image alone does not fit into memory.
    """
    was_training = predictor.training
    predictor.eval()
    try:
        parts, start = [], 0
        while start < len(split):
            stop = min(start + batch_size, len(split))
            try:
                canvas = split.canvas(range(start, stop), canvas_size).to(runtime.device)
                with runtime.autocast():
                    parts.append(answers(predictor(canvas).float()).cpu())
                start = stop
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if batch_size == 1:
                    raise TrainingError("one image alone does not fit into memory; choose a smaller input_size or model") from error
                batch_size //= 2
                warnings.warn(f"memory ran out: evaluation goes on with batches of {batch_size}", RuntimeWarning, stacklevel=2)
        return torch.cat(parts)
    finally:
        predictor.train(was_training)


def evaluate(predictor: nn.Module, task: Task, split: Split, canvas_size: int | None, runtime: Runtime) -> tuple[Tensor, dict[str, float]]:
    """The task's answers on a split, and its metrics of them."""
    answers = outputs_of(predictor, split, canvas_size, runtime, answers=task.answers)
    return answers, task.metrics(answers, split.targets)


@contextlib.contextmanager
def watched_paths(predictor: Predictor) -> Iterator[list[Tensor]]:
    """While the block runs, collect the path weights (B, m) of every batch that the predictor sees; none where it has no paths."""
    paths: list[Tensor] = []

    def note(*_: object) -> None:
        if predictor.path is not None:
            paths.append(predictor.path.float().cpu())

    hook = predictor.register_forward_hook(note)
    try:
        yield paths
    finally:
        hook.remove()
