"""Frozen features of all models side by side, and one linear head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hubtune.features import extract
from hubtune.hub import Backbone
from hubtune.pathway.assembled import Assembled
from hubtune.proxies import linear_probe
from hubtune.tasks import Task
from hubtune.training.heads import linear_head
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Predictor, freeze


@final
class ConcatHub(Predictor):
    """``head([embed_1(view_1(canvas)) ... embed_m(view_m(canvas))])``."""

    kind = "concat-probe"

    def __init__(self, backbones: Sequence[Backbone], outputs: int):
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.head = nn.Linear(sum(backbone.feature_dim for backbone in backbones), outputs)

    def forward(self, canvas: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        features = [backbone.embed(backbone.view(canvas)) for backbone in self.backbones]  # pyright: ignore[reportCallIssue]
        return self.head(torch.cat(features, 1))

    def spec(self) -> dict[str, Any]:
        backbones = [backbone.spec() for backbone in self.backbones]  # pyright: ignore[reportCallIssue]
        return {"kind": self.kind, "backbones": backbones, "outputs": self.head.out_features}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "ConcatHub":
        return cls([Backbone.from_spec(backbone) for backbone in spec["backbones"]], spec["outputs"])


@dataclass(frozen=True, kw_only=True)
class ConcatProbe(Method):
    """Train one linear head on the frozen features of all models of the hub, concatenated; nothing else is trained.

    Every model's features are scaled to the same mean length first, so that the largest do not speak alone; the scales are folded into
    the head. The rate that does best on the validation split is kept.

    Source: the control that costs one forward pass per model and image; linear evaluation as in Renggli et al. (2021), section 4.3.
    """

    name: ClassVar[str] = "concat-probe"
    takes_many: ClassVar[bool] = True

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> Assembled:
        place = (setting.canvas_size, setting.runtime.device)
        blocks = [extract(backbone, task.train, *place).embeddings for backbone in backbones]
        lengths = torch.stack([block.norm(dim=1).mean() for block in blocks]).clamp_min(1e-12)
        scales = torch.cat([(lengths.mean() / length).expand(block.shape[1]) for length, block in zip(lengths, blocks, strict=True)])
        train = torch.cat(blocks, 1) * scales
        val = torch.cat([extract(backbone, task.val, *place).embeddings for backbone in backbones], 1) * scales
        hub = ConcatHub(backbones, linear_head(task, backbones[0], self.name).out_features)
        scores = {}
        for rate in (0.1, 0.01):
            weight, bias = linear_probe(train, task.train.targets, hub.head.out_features, learning_rate=rate, seed=setting.seed)
            scores[rate] = task.metrics(val @ weight.T + bias, task.val.targets)[task.metric]
            if scores[rate] == max(scores.values()):
                best = (weight * scales, bias)
        with torch.no_grad():
            hub.head.weight.copy_(best[0])
            hub.head.bias.copy_(best[1])
        freeze(hub)
        return Assembled(hub, setting)
