"""A linear head on frozen features: where trainings start."""

import torch

from hubtune.errors import ConfigurationError
from hubtune.features import extract
from hubtune.hub import Backbone
from hubtune.proxies import linear_probe
from hubtune.tasks import Task
from hubtune.training.method import Setting


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
