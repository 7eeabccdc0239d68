"""What a head can make of a frozen model: where trainings start."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import ConfigurationError
from hubtune.features import extract
from hubtune.hub import Backbone
from hubtune.nets import DeconvolutionHead
from hubtune.proxies import linear_probe, logme
from hubtune.tasks import Split, Task
from hubtune.training.method import Setting

GRID = 4
"""Cells to a side over which a map is averaged, to tell what can be read from it."""


def linear_head(task: Task, backbone: Backbone, method: str) -> torch.nn.Linear:
    """A fresh head for a method that knows embeddings only.

    Raises:
        ConfigurationError: outputs of the task's kind are not made of an embedding.
    """
    head = task.head(backbone)
    if not isinstance(head, torch.nn.Linear):
        raise ConfigurationError(
            f"{method} was asked for a task of kind {task.kind!r}; expected classification, since it works on embeddings, from which a "
            f"{type(head).__name__} makes no outputs: use scratch, fine-tune, ensemble, distill, knowledge-flow, zoo-tuning or hub-pathway"
        )
    return head


@torch.no_grad()
def fit_head(head: torch.nn.Module, backbone: Backbone, task: Task, setting: Setting) -> float | None:
    """Train a linear head in place on the backbone's frozen features, at the rate that does best on the validation split.

    A head of another kind stays as it was drawn: there is no quick way to its best weights.

    Returns:
        its accuracy on the validation split; None where the head stayed as it was.
    """
    if not isinstance(head, torch.nn.Linear):
        return None
    train = extract(backbone, task.train, setting.canvas_size, setting.runtime.device).embeddings
    val = extract(backbone, task.val, setting.canvas_size, setting.runtime.device).embeddings
    best = -1.0
    for rate in (0.1, 0.01):
        weight, bias = linear_probe(train, task.train.targets, head.out_features, learning_rate=rate, seed=setting.seed)
        score = float((val @ weight.T + bias).argmax(1).eq(task.val.targets).float().mean())
        if score > best:
            best = score
            head.weight.copy_(weight)
            head.bias.copy_(bias)
    return best


@torch.no_grad()
def evidence(head: torch.nn.Module, backbone: Backbone, task: Task, setting: Setting) -> float:
    """How well the numbers that a task asks for follow, linearly, from what its head reads of a frozen model: LogME, higher is better."""
    return logme(_read_by(head, backbone, task.train, setting), task.labels(task.train))


def _read_by(head: torch.nn.Module, backbone: Backbone, split: Split, setting: Setting) -> Float[Tensor, "N D"]:
    """Embeddings, or, where the head reads a map, which knows where things are, the map averaged over cells."""
    device = setting.runtime.device
    if not isinstance(head, DeconvolutionHead):
        return extract(backbone, split, setting.canvas_size, device).embeddings
    backbone = backbone.to(device).eval()
    found = []
    for start in range(0, len(split), 64):
        canvas = split.canvas(range(start, min(start + 64, len(split))), setting.canvas_size).to(device)
        found.append(F.adaptive_avg_pool2d(backbone.maps(backbone.view(canvas))[head.level].float(), GRID).flatten(1).cpu())
    return torch.cat(found)
