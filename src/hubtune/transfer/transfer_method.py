"""What all transfers from frozen sources into a fresh target share."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from torch import nn

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Method, Setting
from hubtune.training.predictor import Single
from hubtune.training.schedules import Schedule
from hubtune.training.trained_method import Rates, TrainedMethod
from hubtune.transfer.networks import SourceMaps, Sources, make_target, registered

PAPER_EPOCHS = 200
PAPER_RATE = 0.1
SHORT_RATE = 0.02
LARGE_INPUT = 64
"""Side in pixels from which on the paper's batch is 64 instead of 128."""

Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]


def _no_module(target: Any) -> Any:
    if isinstance(target, nn.Module):
        raise ValueError(
            "a network was given, expected the name by which it can be built again: register a function for it with "
            "timm.models.register_model (docs/extending.md shows how) and give that name"
        )
    return target


@dataclass(frozen=True, kw_only=True)
class TransferMethod(TrainedMethod):
    """Train a target from random weights with the help of frozen sources: all the models that are handed over. Abstract.

    Source: Jang et al. (2019), section 3.1: SGD 0.1, momentum 0.9, weight decay 1e-4, cosine, 200 epochs, batch 128 at 32 x 32 and 64 at
    224 x 224, best epoch by validation. Differs from the paper: with ``steps="auto"`` the schedule follows the task's size.
    """

    takes_many: ClassVar[bool] = True
    swept: ClassVar[tuple[str, ...]] = ("learning_rates",)
    """Fields of several values; every combination is tried, and the best by validation is kept."""

    target: Annotated[str, BeforeValidator(_no_module)] = "vgg9"
    """The network to train: a name of timm's or of ``hubtune.nets``, or my.module:name where my.module registers its own with timm."""
    target_input_size: Annotated[int, Field(ge=1)] | None = None
    """Side in pixels of the target's input; None is its architecture's own."""
    source_device: str | None = None
    """Where the sources compute, such as "cuda:1"; None is where the target is trained."""
    learning_rates: Rates = "auto"
    """First learning rates, each tried from the same random weights. "auto" is the paper's 0.1 under ``protocol="paper"``, else 0.02: in
    short trainings at 0.1 the distance to maps of large values blows the target's weights up before it has learnt anything."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The paper's is SGD."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Coupled in SGD, decoupled in AdamW."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the steps during which the learning rate grows from 0."""
    schedule: Schedule = "cosine"
    """cosine: (1 + cos(pi t)) / 2."""
    keep: Literal["last", "best"] = "best"
    """Which weights are kept: those of the last step, or of the best evaluation."""

    def mistakes(self) -> list[str]:
        found = super().mistakes()
        try:
            registered(self.target)
        except ConfigurationError as error:
            found.append(str(error))
        except UnknownNameError as error:
            found.append(f"target = {self.target!r}: {str(error).split('; known')[0].split(' known:')[0]}")
        if self.batch_norm == "frozen":
            found.append(
                "batch_norm = 'frozen': the target starts from random weights and has no pre-trained statistics; leave it at 'train'"
            )
        return found

    def tried_rates(self, rates: Rates) -> tuple[float, ...]:
        if rates == "auto":
            return (PAPER_RATE,) if self.protocol == "paper" else (SHORT_RATE,)
        return rates

    @property
    def learning_rate(self) -> float:
        """The first rate that is tried; of a variant, its only one."""
        return self.tried_rates(self.learning_rates)[0]

    def variants(self, task: Task) -> list[Method]:
        tried = {"learning_rates": self.tried_rates(self.learning_rates)}
        values = [[(name, (value,)) for value in tried.get(name) or getattr(self, name)] for name in self.swept]
        return [dataclasses.replace(self, **dict(choice)) for choice in itertools.product(*values)]

    def scheduled_steps(self, task: Task) -> int:
        if self.steps == "auto" and self.protocol == "paper":
            return max(1, PAPER_EPOCHS * len(task.train) // self.scheduled_batch_size(task))
        return super().scheduled_steps(task)

    def scheduled_batch_size(self, task: Task) -> int:
        if self.batch_size == "auto" and self.protocol == "paper":
            side = self.target_input_size or registered(self.target).input_size
            return min(64 if side > LARGE_INPUT else 128, len(task.train))
        return super().scheduled_batch_size(task)

    def networks(self, backbones: list[Backbone], task: Task, setting: Setting, source_maps: SourceMaps = "raw") -> tuple[Sources, Single]:
        """The frozen sources, and the target with its head.

        Raises:
            ConfigurationError: there is no batch of two images, which BatchNorm needs.
        """
        if self.scheduled_batch_size(task) < 2:
            raise ConfigurationError(
                f"a batch is {self.scheduled_batch_size(task)} image, as batch_size = {self.batch_size} and there are "
                f"{len(task.train)} training images; expected at least two, since the target's BatchNorm "
                "learns from random weights: raise batch_size or add images"
            )
        target = make_target(self.target, self.target_input_size, task, setting.seed)
        return Sources(backbones, setting.runtime, self.source_device, source_maps), target
