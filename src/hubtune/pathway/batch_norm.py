"""BatchNorm where a batch is a part of a batch: statistics held still, or estimated anew."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from hubtune.tasks import Task
from hubtune.training.method import Setting
from hubtune.training.seeds import derive

Norm = nn.modules.batchnorm._BatchNorm

SAMPLE = 1024
"""Training images, at most, from which statistics are estimated anew."""
CHUNK = 64


def batch_norms(module: nn.Module) -> list[Norm]:
    """Every BatchNorm of a network that keeps running statistics."""
    return [m for m in module.modules() if isinstance(m, Norm) and m.track_running_stats]


@contextlib.contextmanager
def frozen(norms: Sequence[Norm]) -> Iterator[None]:
    """Use the running statistics, and leave them as they are, while the block runs."""
    training = [norm for norm in norms if norm.training]
    for norm in training:
        norm.eval()
    try:
        yield
    finally:
        for norm in training:
            norm.train()


@contextlib.contextmanager
def untouched(norms: Sequence[Norm]) -> Iterator[None]:
    """Use the batch's statistics in training as ever, but leave the running ones as they are, while the block runs."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def reestimate(network: nn.Module, canvases: Iterable[UInt8[Tensor, "B 3 H W"]]) -> None:
    """Replace running statistics by their plain averages over some batches; nothing else changes, and all else is in evaluation mode.

    A layer that no batch reaches keeps its statistics.

    Source: Izmailov et al. (2018), Averaging weights leads to wider optima, section 3.2.
    """
    norms = batch_norms(network)
    before = [(norm.momentum, {name: value.clone() for name, value in norm.named_buffers()}) for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for canvas in canvases:
        network(canvas)
    for norm, (momentum, buffers) in zip(norms, before, strict=True):
        norm.momentum = momentum
        if int(norm.num_batches_tracked) == 0:  # pyright: ignore[reportArgumentType]
            norm.load_state_dict(buffers, strict=False)
    network.eval()


def sample_of(task: Task, setting: Setting) -> Iterator[UInt8[Tensor, "B 3 H W"]]:
    """Training images as they are, a random sample that the seed decides, in batches of at least two."""
    generator = torch.Generator().manual_seed(derive(setting.seed, "statistics"))
    rows = torch.randperm(len(task.train), generator=generator)[:SAMPLE].tolist()
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        if len(chunk) > 1:
            yield task.train.canvas(chunk, setting.canvas_size).to(setting.runtime.device)
