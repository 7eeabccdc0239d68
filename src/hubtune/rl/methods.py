"""What a policy starts from: nothing, one policy, or a hub of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hubtune.errors import ConfigurationError, unknown_name
from hubtune.pathway.aggregator import Aggregator, Init
from hubtune.pathway.generator import PathwayGenerator, RandomPathway
from hubtune.pathway.knowledge_flow import Flow, channels_of, flowing
from hubtune.pathway.objectives import exploitation_loss, exploration_loss
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.zoo_tuning import ZooNetwork, mix
from hubtune.rl.distribution import cross_entropy
from hubtune.rl.learner import Alone, Objective
from hubtune.rl.policy import SourcePolicy, fresh_backbone, fresh_head, keep_head
from hubtune.rl.replay import Transitions
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.training.predictor import Predictor, Single, freeze


@dataclass(frozen=True)
class Start:
    """A policy before its first step."""

    policy: Predictor
    objective: Objective
    notes: tuple[str, ...] = ()
    """What the user should know, such as heads that were drawn anew."""


@dataclass(frozen=True, kw_only=True)
class PolicyMethod(DataEfficientRainbow):
    """How a policy is transferred. Abstract; what is drawn comes from torch's global generator."""

    fewest: ClassVar[int] = 1
    """Sources that it takes at least; a method of one source is applied to each."""

    heads: Literal["hidden", "all", "fresh"] = "hidden"
    """What is taken over of the sources' heads. hidden: the hidden layers, so that the answers are learnt anew whatever the game is;
    all: the answers too, as far as the actions agree; fresh: nothing."""

    @abstractmethod
    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        """The policy and what teaches it.

        Args:
            sources: to start from.
            actions: of the game.
        """

    def check_sources(self, sources: Sequence[SourcePolicy]) -> None:
        """
        Raises:
            ConfigurationError: too few sources, or sources that see other frames or tell other returns apart.
        """
        if len(sources) < self.fewest:
            raise ConfigurationError(f"{self.name} was given {len(sources)} policies; expected at least {self.fewest}: name them by --from")
        for source in sources:
            own = source.card.play
            if (own.history, own.frame_size) != (self.history, self.frame_size):
                raise ConfigurationError(
                    f"{source.name} sees {own.history} frames of {own.frame_size} pixels, and the settings say {self.history} of "
                    f"{self.frame_size}; set history={own.history} and frame_size={own.frame_size}"
                )
            scale = ("lowest_return", "highest_return", *(("discount", "clip_reward") if self.heads == "all" else ()))
            wrong = [name for name in scale if getattr(own, name) != getattr(self, name)]
            if wrong:
                raise ConfigurationError(
                    f"{source.name} estimates returns with {_settings(own, wrong)}, and the settings say {_settings(self, wrong)}; "
                    f"set {_settings(own, wrong)}, or take other policies"
                )

    def single(self, source: SourcePolicy, actions: Sequence[str]) -> tuple[Single, tuple[str, ...]]:
        """A source's convolutions under a head for the game, and what the user should know."""
        backbone = source.backbone()
        head = fresh_head(backbone, len(actions), self)
        note = None if self.heads == "fresh" else keep_head(source, head, actions, self.heads)
        return Single(backbone, head), () if note is None else (note,)


@dataclass(frozen=True, kw_only=True)
class Scratch(PolicyMethod):
    """Learn from nothing."""

    name: ClassVar[str] = "scratch"
    fewest: ClassVar[int] = 0

    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        backbone = fresh_backbone(self)
        policy = Single(backbone, fresh_head(backbone, len(actions), self))
        return Start(policy, Alone(policy))


@dataclass(frozen=True, kw_only=True)
class FineTune(PolicyMethod):
    """Go on from one policy of another game."""

    name: ClassVar[str] = "fine-tune"

    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        policy, notes = self.single(sources[0], actions)
        return Start(policy, Alone(policy), notes)


@dataclass(frozen=True, kw_only=True)
class HubPathway(PolicyMethod):
    """For each stack of frames, pass through k policies of the hub; the atoms' logits are weighted, the softmax comes last.

    The aggregator, 51 m -> 51, is one for all actions. The generator is noisy wherever the noisy layers are: in acting and learning, not in
    evaluation. The target network is a copy of the whole hub; priorities follow from L_task alone.

    Source: Shu et al. (2022), sections 3 and 4.3.
    Differs from the paper: it describes no generator for policies; here it is two small convolutions.
    """

    name: ClassVar[str] = "hub-pathway"
    takes_many: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    top_k: Annotated[int, Field(ge=1)] = 2
    """Policies on each path; with two sources and 2 every path is active, as in the paper."""
    explore: Annotated[float, Field(ge=0)] = 0.1
    """lambda, the weight of L_explore."""
    exploit: bool = True
    """Whether activated policies are trained on their own losses too."""
    random_path: bool = False
    """The control: paths are drawn at random rather than generated."""
    aggregator_init: Init = "identity"
    """identity: the hub starts as the weighted sum of its policies' logits; random: as a fresh linear layer."""
    generator_width: Annotated[int, Field(ge=1)] = 16
    """Filters of the generator's first convolution."""

    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        if self.top_k > len(sources):
            raise ConfigurationError(
                f"top_k = {self.top_k} with {len(sources)} policies; expected 1 to {len(sources)}: choose a smaller top_k"
            )
        members, notes = zip(*(self.single(source, actions) for source in sources), strict=True)
        generator = (
            RandomPathway(len(sources))
            if self.random_path
            else PathwayGenerator(len(sources), self.frame_size, self.generator_width, kind="shallow", channels=self.history)
        )
        hub = RoutedHub(members, generator, Aggregator(len(sources), self.atoms, self.aggregator_init), self.top_k)
        return Start(hub, ThroughTheHub(hub, self), sum(notes, ()))


class ThroughTheHub(Objective):
    """L_task + lambda L_explore + L_exploit, every transition by its importance weight.

    Source: Shu et al. (2022), Equations 4 to 6.
    """

    def __init__(self, hub: RoutedHub, method: HubPathway):
        self._hub, self._method = hub, method

    def losses(self, batch: Transitions, target: Float[Tensor, "B N"]) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        weights = self._hub.generator(batch.canvas)
        routed = self._hub.routed(batch.canvas, weights)
        losses = cross_entropy(routed.outputs, batch.targets, target)
        total = (batch.weights * losses).mean() + self._method.explore * exploration_loss(weights)
        if self._method.exploit:
            k = routed.own.shape[1]
            own = cross_entropy(routed.own.flatten(0, 1), batch.targets.repeat_interleave(k), target.repeat_interleave(k, dim=0))
            total = total + exploitation_loss(batch.weights[:, None] * own.unflatten(0, (-1, k)))
        return total, losses


@dataclass(frozen=True, kw_only=True)
class KnowledgeFlow(PolicyMethod):
    """The first policy learns, its maps mixed in learning with those of the others, frozen, until it stands alone. It acts alone.

    Source: Liu, Peng and Schwing (2019), Knowledge flow: improve upon your teachers.
    Differs from the paper: as the method of that name for images; see `hubtune.pathway.knowledge_flow`. Of the other policies the
    convolutions teach; their heads are not used.
    """

    name: ClassVar[str] = "knowledge-flow"
    takes_many: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    dependency: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the term that makes the student independent."""

    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        student, notes = self.single(sources[0], actions)
        teachers = nn.ModuleList(source.backbone() for source in sources[1:])
        freeze(teachers)
        flow = Flow(channels_of(student.backbone), [channels_of(teacher) for teacher in teachers])  # pyright: ignore[reportArgumentType]
        return Start(student, Flowing(student, flow, teachers, self.dependency), notes)


class Flowing(Objective):
    """mean_b w_b (CE with the teachers + CE alone) + dependency * (-sum_l log w_l0); the priorities follow from the student alone."""

    def __init__(self, student: Single, flow: Flow, teachers: nn.ModuleList, dependency: float):
        self._student, self._flow, self._teachers, self._dependency = student, flow, teachers, dependency
        self._companions = nn.ModuleDict({"flow": flow, "teachers": teachers})

    def companions(self) -> nn.Module:
        return self._companions

    def losses(self, batch: Transitions, target: Float[Tensor, "B N"]) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
        with torch.no_grad():
            maps = [teacher.maps(teacher.view(batch.canvas)) for teacher in self._teachers]  # pyright: ignore
        with flowing(self._student.backbone, self._flow, maps):
            together = cross_entropy(self._student(batch.canvas), batch.targets, target)
        alone = cross_entropy(self._student(batch.canvas), batch.targets, target)
        return (batch.weights * (together + alone)).mean() + self._dependency * self._flow.dependency(), alone


@dataclass(frozen=True, kw_only=True)
class ZooTuning(PolicyMethod):
    """One policy whose convolutions are, for each stack of frames, a gated mixture of all policies' kernels; its head is the first one's.

    Source: Shu et al. (2021), Zoo-Tuning: adaptive transfer from a zoo of models.
    Differs from the paper: see `hubtune.pathway.zoo_tuning.MixedConv`. The layers of the head are not mixed.
    """

    name: ClassVar[str] = "zoo-tuning"
    takes_many: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    def start(self, sources: Sequence[SourcePolicy], actions: Sequence[str]) -> Start:
        base, notes = self.single(sources[0], actions)
        mix([base.backbone.network, *(source.backbone().network for source in sources[1:])], lite=False)
        policy = ZooNetwork(base.backbone, base.head, len(sources), lite=False)
        return Start(policy, Alone(policy), notes)


def _settings(play: DataEfficientRainbow, names: Sequence[str]) -> str:
    return " and ".join(f"{name}={getattr(play, name)}" for name in names)


METHODS: dict[str, type[PolicyMethod]] = {method.name: method for method in (Scratch, FineTune, HubPathway, KnowledgeFlow, ZooTuning)}


def policy_method(name: str, config: dict | None = None) -> PolicyMethod:
    """A method by its name, with some of its fields.

    Raises:
        UnknownNameError: no such method, or no such field.
        ConfigurationError: values that cannot work.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS, "hubtune rl methods")
    return METHODS[name].from_config(config or {})
