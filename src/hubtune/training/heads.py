"""A linear head on frozen features: where trainings start."""

import torch

from hubtune.errors import ConfigurationError
from hubtune.features import extract
from hubtune.hub import Backbone
from hubtune.proxies import linear_probe
from hubtune.tasks import Task
from hubtune.training.method import Setting


@torch.no_grad()
def fit_head(head: torch.nn.Module, backbone: Backbone, task: Task, setting: Setting) -> None:
    """Train a linear head in place on the backbone's frozen features, at the rate that does best on the validation split.

    Raises:
        ConfigurationError: the task's head is not linear.
    """
    if not isinstance(head, torch.nn.Linear):
        raise ConfigurationError(f"a {task.kind} task has a {type(head).__name__} as head; expected a linear one: set head_first=false")
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
