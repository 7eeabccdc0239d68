"""Hub-Pathway: for each image, which models of a hub it passes through."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from hubtune.errors import ConfigurationError, ModelError
from hubtune.hub import Backbone
from hubtune.pathway.aggregator import Aggregator, Init
from hubtune.pathway.generator import PathwayGenerator, RandomPathway
from hubtune.pathway.hub_pathway_learner import HubPathwayLearner, Loss, Trial
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.sizing import auto_size, auto_width, costs
from hubtune.tasks import Classification, Task
from hubtune.training.heads import fit_head
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.seeds import derive
from hubtune.training.trained_method import PretrainedMethod, Rate, Rates

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weights = Weight | Annotated[tuple[Weight, ...], Field(min_length=1)]
PRIORS = (0.0, 10.0)
"""Paths that start alike find partners that a prior overlooks; with 10, a model ten points more accurate, or, after a trial, of an error
a tenth smaller, starts with e times the weight."""
EXPLORE = 0.1
EXPLORE_NUMBERS = 0.01
"""Losses of numbers differ less between models than those of classes do: beside them 0.1 keeps all weights equal."""
TRIAL = 0.1
"""Share of the steps after which the models' errors are in their final order, or nearly so."""


@dataclass(frozen=True, kw_only=True)
class HubPathway(PretrainedMethod):
    """Learn, for each image, k models of the hub to pass through; train generator, models and aggregator together.

        arg min over G, A       of L_task + lambda L_explore
        arg min over Theta_1..m of L_task + L_exploit

    Source: Shu et al. (2022), Hub-Pathway: transfer learning from a hub of pre-trained models, Equations 1 to 6.
    Differs from the paper: with ``protocol="auto"`` the schedule follows the task's size, the heads are first trained on frozen
    features, steps are AdamW's, several learning rates are tried, of which the smaller keep BatchNorm's statistics,
    paths may start from what those heads are good for (``prior``), where numbers are predicted all models are first trained alone for
    some of the steps (``trial``), and the generator is as small as the hub's models make it worthwhile. ``protocol="paper"``: SGD, 0.01,
    momentum 0.9, 15,000 steps of batch 48, x 0.1 at 6,000 and 12,000, heads from N(0, 0.01), a generator of full size and width. The
    paper gives no value of lambda, and leaves the models' costs out of account.
    """

    name: ClassVar[str] = "hub-pathway"
    takes_many: ClassVar[bool] = True
    milestones: ClassVar[tuple[float, ...]] = (0.4, 0.8)
    paper_steps: ClassVar[int] = 15_000
    paper_batch_size: ClassVar[int] = 48

    top_k: Annotated[int, Field(ge=1)] = 2
    """Models on each image's path."""
    learning_rates: Rates = "auto"
    """First learning rates of the models, each tried. "auto": 0.001 and 0.0001 with AdamW; the paper's is 0.01, of SGD."""
    generator_rate: Literal["auto"] | Rate = "auto"
    """The generator's first learning rate; auto: 0.001 with AdamW, since it starts at random, and that of the models with SGD."""
    explore: Literal["auto"] | Weights = "auto"
    """lambda, the weight of L_explore; of several values the best by validation is kept; 0 leaves it out; auto: 0.1, or 0.01 where
    numbers are predicted."""
    cost_weight: Weight = 0.0
    """Weight of the route's expected cost, in units of the mean model's, so that easy images take cheap paths; 0 leaves it out."""
    exploit: bool = True
    """Whether activated models are trained on their own losses too."""
    random_path: bool = False
    """The control: paths are drawn at random rather than generated."""
    prior: Literal["auto"] | Weights = "auto"
    """Paths start from softmax(prior times validation accuracy) of the heads on frozen features, or, after a trial, from
    softmax(-prior e / min e) of its validation errors e, equal at 0; of several values the best by validation is kept; auto: 10 after a
    trial; else 0 and 10 where heads are first trained on frozen features, and 0 where not."""
    trial: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    """Share of the steps, the first ones, in which each model is trained alone on every image, before paths are learnt from ``prior``;
    auto: 0.1 where numbers are predicted, whose heads cannot be judged on frozen features, and 0 where classes are."""
    aggregator_init: Init = "identity"
    """identity: the hub starts as the weighted sum of its models' outputs; random: as a fresh linear layer."""
    head_first: Literal["auto"] | bool = "auto"
    """Whether each model's head is first trained on frozen features; auto: yes, but by the paper's protocol no."""
    generator_size: Literal["auto"] | Annotated[int, Field(ge=8)] = "auto"
    """Side in pixels of the image that the generator sees; auto: half of the largest model's, at least 32; by the paper's protocol all."""
    generator_width: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Channels of the generator's first stage; auto: up to 64, such that it costs at most 15 % of the hub's mean model, at least 16."""
    reestimate_batch_norm: bool = False
    """Whether BatchNorm statistics are estimated anew after training, each model's from the training images routed to it."""
    skip_broken: bool = False
    """Whether a model whose outputs are no numbers is left out, rather than being an error."""

    def variants(self, task: Task) -> list[Method]:
        explore = self.explore if self.explore != "auto" else EXPLORE if task.kind == Classification.kind else EXPLORE_NUMBERS
        choices = itertools.product(self.rate_variants(), _several(explore), self._priors(task))
        return [dataclasses.replace(variant, explore=explore, prior=prior) for variant, explore, prior in choices]

    def _priors(self, task: Task) -> tuple[float, ...]:
        judged = bool(self._trial_steps(task)) or (task.kind == Classification.kind and self._fits_heads)
        if self.random_path:
            return (0.0,)
        if self.prior == "auto":
            return PRIORS[1:] if self._trial_steps(task) else PRIORS if judged else (0.0,)
        priors = _several(self.prior)
        if any(priors) and not judged:
            raise ConfigurationError(
                f"prior = {self.prior} without a trial of the models, and without heads for classes first trained on frozen features, "
                "so that nothing is known to prefer one by; expected trial=0.1, head_first=true where classes are told apart, or prior=0"
            )
        return priors

    def _trial_steps(self, task: Task) -> int:
        """Steps of the trial; where there is one, at least one, and at least one is left for the paths."""
        share, steps = self.trial, self.scheduled_steps(task)
        if share == "auto":
            share = 0 if self.protocol == "paper" or task.kind == Classification.kind else TRIAL
        return 0 if self.random_path or not share else min(max(1, round(share * steps)), steps - 1)

    @property
    def _fits_heads(self) -> bool:
        return self.protocol != "paper" if self.head_first == "auto" else self.head_first

    def tried_rates(self, rates: Rates) -> tuple[float, ...]:
        return (0.01,) if rates == "auto" and self.protocol == "paper" else super().tried_rates(rates)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> HubPathwayLearner:
        [variant, *_] = self.variants(task)
        assert isinstance(variant, HubPathway)
        assert isinstance(variant.explore, float)
        assert isinstance(variant.prior, float)
        broken = find_broken(backbones, task, setting)
        self._check(backbones, broken)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, self.name))
            members = [Single(backbone, task.head(backbone)) for backbone in backbones]
            generator = self._generator(members)
            aggregator = Aggregator(len(members), members[0].head.out_features, self.aggregator_init)  # pyright: ignore[reportArgumentType]
        generator.blocked[broken] = True
        trial = Trial(steps=self._trial_steps(task), prior=variant.prior)
        if self._fits_heads:
            fitted = [None if i in broken else fit_head(member.head, member.backbone, task, setting) for i, member in enumerate(members)]
            if isinstance(generator, PathwayGenerator) and not trial.steps:
                generator.prefer(variant.prior * torch.tensor([accuracy or 0.0 for accuracy in fitted]))
        return HubPathwayLearner(
            RoutedHub(members, generator, aggregator, self.top_k),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(variant.learning_rates)[0]),
            generator_rate=None if self.generator_rate == "auto" else self.generator_rate,
            loss=Loss(explore=variant.explore, exploit=self.exploit, cost=self.cost_weight, label_smoothing=self.label_smoothing),
            costs=costs(members) if self.cost_weight else None,
            frozen_batch_norm=variant.batch_norm == "frozen",
            reestimate_batch_norm=self.reestimate_batch_norm,
            trial=trial,
            setting=setting,
        )

    def _check(self, backbones: Sequence[Backbone], broken: list[int]) -> None:
        names = ", ".join(backbones[i].card.name for i in broken)
        if broken and not self.skip_broken:
            raise ModelError(
                f"{names}: the features of training images are no numbers (NaN or infinite); "
                "leave the model out of the hub, repair its weights, or set skip_broken=true"
            )
        usable = len(backbones) - len(broken)
        if self.top_k > usable:
            raise ConfigurationError(
                f"top_k = {self.top_k} with {usable} usable models in the hub; expected 1 to {usable}: "
                "choose a smaller top_k or a larger hub" + (f" ({names} cannot be used)" if broken else "")
            )

    def _generator(self, members: Sequence[Single]) -> PathwayGenerator | RandomPathway:
        if self.random_path:
            return RandomPathway(len(members))
        paper = self.protocol == "paper"
        size, width = self.generator_size, self.generator_width
        largest = max(member.backbone.input_size for member in members)
        if size == "auto":
            size = largest if paper else auto_size(largest)
        if width == "auto":
            width = 64 if paper else auto_width(members, size)
        return PathwayGenerator(len(members), size, width)


def _several(weights: Weights) -> tuple[float, ...]:
    return weights if isinstance(weights, tuple) else (weights,)


@torch.no_grad()
def find_broken(backbones: Sequence[Backbone], task: Task, setting: Setting, images: int = 8) -> list[int]:
    """Places of the models whose features of some training images are not all numbers."""
    canvas = task.train.canvas(range(min(images, len(task.train))), setting.canvas_size)
    return [i for i, backbone in enumerate(backbones) if not torch.isfinite(backbone.eval().embed(backbone.view(canvas))).all()]
