"""Unweighted feature matching: the target imitates its sources' maps, all channels alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Result, Setting
from hubtune.training.seeds import derive
from hubtune.transfer.feature_matcher import FeatureMatcher, weighted
from hubtune.transfer.networks import Observation, Observer, SourceMaps, Sources
from hubtune.transfer.pairs import Layer, Matching, choose_pairs, describe_matching
from hubtune.transfer.transfer_learner import Term, TransferLearner
from hubtune.transfer.transfer_method import TransferMethod, Weights


@dataclass(frozen=True, kw_only=True)
class FeatureMatching(TransferMethod):
    """Match feature maps of pairs of layers through 1 x 1 convolutions: L2T-ww with w = 1 / C and lambda = 1.

    Source: Romero et al., FitNets, 2015; Jang et al. (2019), section 2.1 and 3.1.
    Differs from the paper: it does not state the weight; here it is a field, swept.
    """

    name: ClassVar[str] = "fm"
    swept: ClassVar[tuple[str, ...]] = ("learning_rates", "weights")

    pairs: Matching = "one-to-one"
    """Which maps are matched: single, one-to-one, all-to-all, or pairs source-layer:target-layer."""
    weights: Weights = (0.5,)
    """Of the matching beside the task's loss (the paper's beta), each tried."""
    source_maps: SourceMaps = "raw"
    """raw: as the sources compute them, as in the paper. unit: each map of each image over its root mean square, so that the matching
    weighs alike whatever the family of a source, and large maps do not drown the task's loss."""

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> TransferLearner:
        sources, target = self.networks(backbones, task, setting, self.source_maps)
        layers = Observer(target.backbone).layers
        matcher = make_matcher(self.pairs, sources, layers, setting.seed)
        pairs = [pair for row in matcher.rows.values() for pair in row]
        return TransferLearner(
            target,
            {"matching_loss": UniformMatching(matcher, [layers for _, layers in sources.layers], self.weights[0])},
            sources,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            runtime=setting.runtime,
            canvas_size=setting.canvas_size,
            label_smoothing=self.label_smoothing,
            summary={"matching": describe_matching(pairs, sources.layers, (self.target, layers))},
        )


def make_matcher(pairs: Matching, sources: Sources, target: Sequence[Layer], seed: int) -> FeatureMatcher:
    """The convolutions of a configuration, their weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "matching"))
        return FeatureMatcher(choose_pairs(pairs, sources.layers, target), [layers for _, layers in sources.layers], target)


class UniformMatching(Term):
    """weight times the sum over pairs of (1 / C) sum_c mean_HW (r(T) - S)^2."""

    needs_maps = True

    def __init__(self, matcher: FeatureMatcher, sources: Sequence[Sequence[Layer]], weight: float):
        super().__init__()
        self.matcher = matcher
        self.weight = weight
        for n, row in matcher.rows.items():
            counts = [sources[pair.source][pair.source_layer].channels for pair in row]
            uniform = torch.cat([torch.full((1, count), 1 / count) for count in counts], 1)
            self.register_buffer(f"uniform_{n}", uniform, persistent=False)

    def forward(self, target: Observation, sources: Sequence[Observation]) -> Float[Tensor, " B"]:
        distances = self.matcher(target.maps, self.matcher.resize(sources))
        return self.weight * weighted({n: self.get_buffer(f"uniform_{n}") for n in distances}, distances)
