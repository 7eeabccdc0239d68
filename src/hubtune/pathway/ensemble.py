"""Several fine-tuned models answering together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, final

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.hub import Backbone, Hub
from hubtune.pathway.assembled import Assembled, best_first, names_of, trainings
from hubtune.tasks import Classification, Task, kind_named
from hubtune.training.method import Method, Need, Result, Setting
from hubtune.training.predictor import Predictor, Single
from hubtune.training.saving import load_single


def vote(outputs: Sequence[Float[Tensor, "B C"]]) -> Float[Tensor, "B C"]:
    """Logits of a hard vote: log((votes_c + p_c) / (m + 1)), where p is the models' mean probability.

    The class with most votes is the most probable one; the mean probability decides between equal votes, and never more.
    """
    probabilities = torch.stack([logits.softmax(-1) for logits in outputs])
    votes = nn.functional.one_hot(probabilities.argmax(-1), probabilities.shape[-1]).sum(0)
    return ((votes + probabilities.mean(0)) / (len(outputs) + 1)).clamp_min(torch.finfo(torch.float32).tiny).log()


def check_vote(hard: bool, task_kind: str) -> None:
    """
    Raises:
        ConfigurationError: a vote where there are no classes.
    """
    if hard and task_kind != Classification.kind:
        raise ConfigurationError(f"a vote was asked for a task of kind {task_kind!r}; expected classification: leave vote out")


@final
class EnsemblePredictor(Predictor):
    """All of m models, each with a view of its own; their outputs combined as the kind of task does (mean probability), or a vote."""

    kind = "ensemble"

    def __init__(self, members: Sequence[Single], task_kind: str, hard: bool = False):
        """
        Args:
            task_kind: ``Task.kind``, which decides how outputs are combined.
            hard: vote, rather than average.
        """
        super().__init__()
        check_vote(hard, task_kind)
        self.members = nn.ModuleList(members)
        self.task_kind = task_kind
        self.hard = hard
        self._combine = kind_named(task_kind).combine

    def forward(self, canvas: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B C ..."]:
        outputs = [member(canvas).float() for member in self.members]
        return vote(outputs) if self.hard else self._combine(outputs)

    def spec(self) -> dict[str, Any]:
        members = [member.spec() for member in self.members]  # pyright: ignore[reportCallIssue]
        return {"kind": self.kind, "members": members, "task_kind": self.task_kind, "hard": self.hard}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "EnsemblePredictor":
        return cls([Single.from_spec(member) for member in spec["members"]], spec["task_kind"], spec["hard"])


@dataclass(frozen=True, kw_only=True)
class Ensemble(Method):
    """Fine-tune every model of the hub alone; average their probabilities.

    A model whose training fails is left out, with a warning. Costs m trainings and, for each image, m models.

    Source: Shu et al. (2022), section 4.1, "Ensemble".
    Differs from the paper: it votes, which is ``vote=True``; the mean of probabilities is usually the stronger baseline.
    """

    name: ClassVar[str] = "ensemble"
    takes_many: ClassVar[bool] = True

    vote: bool = False
    """Whether each model has one vote, rather than its probabilities."""
    base: str = "fine-tune"
    """The method that trains each model."""
    base_config: dict[str, Any] = field(default_factory=dict)
    """Its fields."""

    def needs(self, models: tuple[str, ...], task: Task) -> list[Need]:
        return trainings(self.base, self.base_config, models)

    def check(self, hub: Hub, task: Task) -> None:
        check_vote(self.vote, task.kind)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> Assembled:
        return assemble(best_first(results, task), task, setting, self.vote)


@dataclass(frozen=True, kw_only=True)
class EnsembleTopK(Method):
    """Fine-tune every model of the hub alone; average the probabilities of the k best by validation.

    Source: Shu et al. (2022), section 4.4, "Ensemble Top-k".
    Differs from the paper: it does not say on which images the best are found; here on the validation split.
    """

    name: ClassVar[str] = "ensemble-top-k"
    takes_many: ClassVar[bool] = True

    top_k: Annotated[int, Field(ge=1)] = 2
    """Models that are kept; all, where there are fewer."""
    vote: bool = False
    """Whether each model has one vote, rather than its probabilities."""
    base: str = "fine-tune"
    """The method that trains each model."""
    base_config: dict[str, Any] = field(default_factory=dict)
    """Its fields."""

    def needs(self, models: tuple[str, ...], task: Task) -> list[Need]:
        return trainings(self.base, self.base_config, models)

    def check(self, hub: Hub, task: Task) -> None:
        check_vote(self.vote, task.kind)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> Assembled:
        return assemble(best_first(results, task)[: self.top_k], task, setting, self.vote)


def assemble(results: list[Result], task: Task, setting: Setting, hard: bool) -> Assembled:
    """The ensemble of finished trainings."""
    members = [load_single(result.folder / "model") for result in results]
    return Assembled(EnsemblePredictor(members, task.kind, hard), setting, {"members": names_of(results)})
