"""Which network of the hub is taught, and by whom."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.errors import unknown_name
from hubtune.features import extract
from hubtune.hub import Backbone
from hubtune.proxies import linear_probe
from hubtune.tasks import Split, Task
from hubtune.training.heads import evidence
from hubtune.training.learner import Batch
from hubtune.training.method import Setting
from hubtune.training.predictor import freeze


def place_of(student: str, names: Sequence[str]) -> int:
    """Where a model is among the names of a hub.

    Raises:
        UnknownNameError: it is not in it.
    """
    if student not in names:
        raise unknown_name("student", student, list(names))
    return list(names).index(student)


def names_in(backbones: Sequence[Backbone]) -> list[str]:
    """The models' names."""
    return [backbone.card.name for backbone in backbones]


def best_by_probe(backbones: Sequence[Backbone], task: Task, setting: Setting) -> int:
    """The model on whose frozen features a linear head does best on the validation split; where numbers are predicted, LogME decides."""
    if task.labels(task.train).is_floating_point():
        found = [evidence(task.head(backbone), backbone, task, setting) for backbone in backbones]
        return found.index(max(found))
    scores = []
    for backbone in backbones:
        train, val = (extract(backbone, split, setting.canvas_size, setting.runtime.device).embeddings for split in (task.train, task.val))
        outputs = int(task.train.targets.max()) + 1
        weight, bias = linear_probe(train, task.train.targets, outputs, learning_rate=0.1, seed=setting.seed)
        scores.append(float((val @ weight.T + bias).argmax(1).eq(task.val.targets).float().mean()))
    return scores.index(max(scores))


def is_augmented(task: Task) -> bool:
    """Whether the same image looks different at every step, so that nothing about it can be computed once."""
    return getattr(task, "augmentation", "none") != "none"


class Teachers:
    """Frozen features of several models, standardised over the training images and concatenated.

    Without augmentation they are read from the feature cache, one forward pass per model and image for good; with it they are computed
    anew for every batch.
    """

    def __init__(self, backbones: Sequence[Backbone], task: Task, setting: Setting):
        self._backbones = [backbone.to(setting.runtime.device) for backbone in backbones]
        for backbone in self._backbones:
            freeze(backbone)
        self._device = setting.runtime.device
        features = self._cached(task.train, setting)
        self._mean, self._std = features.mean(0), features.std(0).clamp_min(1e-6)
        self.dim = features.shape[1]
        self._features = None if is_augmented(task) else self._standardised(features)

    def _cached(self, split: Split, setting: Setting) -> Tensor:
        blocks = [extract(backbone, split, setting.canvas_size, self._device).embeddings for backbone in self._backbones]
        return torch.cat(blocks, 1).to(self._device)

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._std

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "B T"]:
        """The teachers' features of a batch, without gradients."""
        if self._features is not None:
            return self._features[batch.indices.to(self._device)]
        features = [backbone.embed(backbone.view(batch.canvas)).float() for backbone in self._backbones]
        return self._standardised(torch.cat(features, 1))
