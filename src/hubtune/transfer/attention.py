"""Attention transfer: the target looks where its sources look."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Result, Setting
from hubtune.transfer.feature_matcher import resize_map
from hubtune.transfer.lwf import LogitDistillation, headless_notes
from hubtune.transfer.networks import Observation, Observer
from hubtune.transfer.pairs import Matching, Pair, choose_pairs, describe_matching
from hubtune.transfer.transfer_learner import Term, TransferLearner
from hubtune.transfer.transfer_method import TransferMethod, Weights


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(TransferMethod):
    """Match attention maps of pairs of layers.

    Source: Zagoruyko & Komodakis, Paying More Attention to Attention, 2017, activation-based; Jang et al. (2019), section 3.1.
    Differs from the paper: the distance is summed over pixels, so that the weight means the same at every size.
    """

    name: ClassVar[str] = "at"
    swept: ClassVar[tuple[str, ...]] = ("learning_rates", "weights")

    pairs: Matching = "one-to-one"
    """Which maps are matched: single, one-to-one, all-to-all, or pairs source-layer:target-layer."""
    weights: Weights = (1.0,)
    """Of the attention loss beside the task's loss, each tried."""

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> TransferLearner:
        sources, target = self.networks(backbones, task, setting)
        layers = Observer(target.backbone).layers
        pairs = choose_pairs(self.pairs, sources.layers, layers)
        return TransferLearner(
            target,
            {"at_loss": AttentionMatching(pairs, self.weights[0])},
            sources,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            runtime=setting.runtime,
            canvas_size=setting.canvas_size,
            label_smoothing=self.label_smoothing,
            summary={"matching": describe_matching(pairs, sources.layers, (self.target, layers))},
        )


@dataclass(frozen=True, kw_only=True)
class LwFAttention(TransferMethod):
    """Distil the sources' logits and match attention maps; a source without an upstream head takes part in the second only.

    Source: Jang et al. (2019), section 3.1, "LwF+AT".
    """

    name: ClassVar[str] = "lwf+at"
    swept: ClassVar[tuple[str, ...]] = ("learning_rates", "lwf_weights", "at_weights")

    pairs: Matching = "one-to-one"
    """Which maps are matched: single, one-to-one, all-to-all, or pairs source-layer:target-layer."""
    lwf_weights: Weights = (1.0,)
    """Of the distillation beside the task's loss, each tried."""
    at_weights: Weights = (1.0,)
    """Of the attention loss beside the task's loss, each tried."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Of both softmaxes of the distillation."""

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> TransferLearner:
        sources, target = self.networks(backbones, task, setting)
        layers = Observer(target.backbone).layers
        pairs = choose_pairs(self.pairs, sources.layers, layers)
        terms: dict[str, Term] = {"at_loss": AttentionMatching(pairs, self.at_weights[0])}
        notes = headless_notes(sources)
        if any(sources.num_logits):
            dim = target.backbone.feature_dim
            terms["lwf_loss"] = LogitDistillation(dim, sources.num_logits, self.lwf_weights[0], self.temperature, setting.seed)
        else:
            warnings.warn(f"{' '.join(notes)} lwf+at goes on as at alone.", stacklevel=2)
        return TransferLearner(
            target,
            terms,
            sources,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            runtime=setting.runtime,
            canvas_size=setting.canvas_size,
            label_smoothing=self.label_smoothing,
            summary={"matching": describe_matching(pairs, sources.layers, (self.target, layers)), "warnings": notes},
        )


class AttentionMatching(Term):
    """weight times the sum over pairs of ||a(S) - a(T)||^2, each in [0, 2].

    Args:
        pairs: of source and target maps.
        weight: factor of the sum.
    """

    needs_maps = True

    def __init__(self, pairs: Sequence[Pair], weight: float):
        super().__init__()
        self.pairs = pairs
        self.weight = weight

    def forward(self, target: Observation, sources: Sequence[Observation]) -> Float[Tensor, " B"]:
        losses = []
        for pair in self.pairs:
            own = target.maps[pair.target_layer].float()
            theirs = attention(sources[pair.source].maps[pair.source_layer], (own.shape[-2], own.shape[-1]))
            losses.append((attention(own) - theirs).square().sum(1))
        return self.weight * torch.stack(losses).sum(0)


def attention(x: Float[Tensor, "B C H W"], size: tuple[int, int] | None = None) -> Float[Tensor, "B N"]:
    """a(x) = q / ||q||_2 with q = sum_c x_c^2, flattened over the N pixels; q is resized first where a size is given.

    Source: Zagoruyko & Komodakis (2017), section 3.1.
    """
    q = x.square().sum(1, keepdim=True)
    return F.normalize((q if size is None else resize_map(q, size)).flatten(1), dim=1)
