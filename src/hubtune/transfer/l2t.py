"""Learning what and where to transfer."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Method, Result, Setting
from hubtune.training.seeds import derive
from hubtune.training.trained_method import Rate
from hubtune.transfer.feature_matcher import FeatureMatcher
from hubtune.transfer.feature_matching import make_matcher
from hubtune.transfer.l2t_learner import L2TLearner, Matched, MetaOptions
from hubtune.transfer.meta_networks import MetaNetworks
from hubtune.transfer.networks import Observer, SourceMaps
from hubtune.transfer.pairs import Layer, Matching
from hubtune.transfer.transfer_method import TransferMethod

Beta = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class L2T(TransferMethod):
    """What L2T-w and L2T-ww share. Abstract.

    Source: Jang et al., Learning What and Where to Transfer, 2019; Algorithm 1.
    Differs from the paper, as the authors' code does: the virtual steps have the momentum and weight decay of the target's optimizer and
    continue its momentum, and beta multiplies their loss (``inner_momentum``, ``inner_weight_decay``, ``inner_beta``: with all three off
    they are the paper's plain gradient descent). Differs from the authors' code: BatchNorm statistics do not move in the virtual steps
    (``restore_batch_norm``).
    """

    beta: Beta | Annotated[tuple[Beta, ...], Field(min_length=1)] = 0.5
    """Of the matching loss, in L_total and in the virtual steps; of several values the best by validation is kept."""
    source_maps: SourceMaps = "raw"
    """raw: as the sources compute them, as in the paper. unit: each map of each image over its root mean square, so that the matching
    weighs alike whatever the family of a source, and large maps do not drown the task's loss."""
    inner_beta: bool = True
    """Whether beta is part of the virtual steps' matching loss as well, as in the authors' code; in the paper's text it is not."""
    inner_steps: Annotated[int, Field(ge=1)] = 2
    """T, virtual steps on the matching loss."""
    adapt: bool = True
    """Whether one virtual step on the task's loss follows (three stages); otherwise the virtual steps minimise L_total (two stages)."""
    inner_momentum: bool = True
    """Whether the virtual steps have the target's momentum."""
    inner_weight_decay: bool = True
    """Whether the virtual steps have the target's weight decay."""
    meta_learning_rate: Rate | Annotated[tuple[Rate, ...], Field(min_length=1)] = 1e-4
    """Of the meta-networks' Adam, constant; of several values the best by validation is kept."""
    meta_weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Of the meta-networks' Adam, coupled."""
    meta_interval: Annotated[int, Field(ge=1)] = 1
    """Steps of the target for each step of the meta-networks, the costly part."""
    restore_batch_norm: bool = True
    """Whether the virtual steps leave BatchNorm's running statistics as they are; else one update, the first virtual step's, is kept."""
    hypergradient: Literal["exact", "recompute", "finite-difference"] = "exact"
    """recompute: exact with less memory for more time. finite-difference: a rough approximation, see `hypergradient`."""
    meta_patience: Annotated[int, Field(ge=1)] = 20
    """Meta-gradients in a row that are not numbers, each skipped, after which training stops."""

    def matching(self) -> Matching:
        """The candidate pairs."""
        raise NotImplementedError

    def meta_networks(self, matcher: FeatureMatcher, sources: Sequence[Sequence[Layer]]) -> MetaNetworks:
        """f and g, drawn from torch's global generator."""
        raise NotImplementedError

    def mistakes(self) -> list[str]:
        found = super().mistakes()
        if self.optimizer != "sgd":
            found.append(f"optimizer = {self.optimizer!r}: the virtual steps are those of SGD, and so must be the target's; choose 'sgd'")
        return found

    def variants(self, task: Task) -> list[Method]:
        betas = self.beta if isinstance(self.beta, tuple) else (self.beta,)
        rates = self.meta_learning_rate if isinstance(self.meta_learning_rate, tuple) else (self.meta_learning_rate,)
        pairs = [(beta, rate) for beta in betas for rate in rates]
        return [dataclasses.replace(one, beta=beta, meta_learning_rate=rate) for one in super().variants(task) for beta, rate in pairs]

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> L2TLearner:
        [variant, *_] = self.variants(task)
        assert isinstance(variant, L2T)
        assert isinstance(variant.beta, float)
        assert isinstance(variant.meta_learning_rate, float)
        sources, target = self.networks(backbones, task, setting, self.source_maps)
        matcher = make_matcher(self.matching(), sources, Observer(target.backbone).layers, setting.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, "meta-networks"))
            meta = self.meta_networks(matcher, [layers for _, layers in sources.layers])
        return L2TLearner(
            Matched(target, matcher),
            meta,
            sources,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            meta_options=MetaOptions(
                beta=variant.beta,
                inner_beta=self.inner_beta,
                inner_steps=self.inner_steps,
                adapt=self.adapt,
                inner_momentum=self.inner_momentum,
                inner_weight_decay=self.inner_weight_decay,
                learning_rate=variant.meta_learning_rate,
                weight_decay=self.meta_weight_decay,
                interval=self.meta_interval,
                restore_batch_norm=self.restore_batch_norm,
                hypergradient=self.hypergradient,
                patience=self.meta_patience,
            ),
            runtime=setting.runtime,
            canvas_size=setting.canvas_size,
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True, kw_only=True)
class L2TW(L2T):
    """Learn what to transfer: the weight of each channel, for each image, between hand-picked pairs of layers.

    Source: Jang et al. (2019), L2T-w, section 3.2.
    """

    name: ClassVar[str] = "l2t-w"

    pairs: Matching = "one-to-one"
    """Which maps are matched: single, one-to-one, all-to-all, or pairs source-layer:target-layer."""

    def matching(self) -> Matching:
        return self.pairs

    def meta_networks(self, matcher: FeatureMatcher, sources: Sequence[Sequence[Layer]]) -> MetaNetworks:
        return MetaNetworks(matcher, sources, where=False)


@dataclass(frozen=True, kw_only=True)
class L2TWW(L2T):
    """Learn what and where to transfer: the weight of each channel and of each pair of layers, for each image.

    Source: Jang et al. (2019), L2T-ww.
    """

    name: ClassVar[str] = "l2t-ww"

    pairs: Matching = "all-to-all"
    """Which maps are matched: single, one-to-one, all-to-all, or pairs source-layer:target-layer."""
    lambda_bias: Annotated[float, Field(gt=0, lt=6)] = 1.0
    """Of g at first: lambda starts near it. At or below 0 and at or above 6 ReLU6 passes no gradient."""

    def matching(self) -> Matching:
        return self.pairs

    def meta_networks(self, matcher: FeatureMatcher, sources: Sequence[Sequence[Layer]]) -> MetaNetworks:
        return MetaNetworks(matcher, sources, where=True, bias=self.lambda_bias)
