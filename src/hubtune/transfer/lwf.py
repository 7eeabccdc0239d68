"""Learning without forgetting: the target also predicts what each source would say."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hubtune.errors import ModelError
from hubtune.hub import Backbone
from hubtune.tasks import Task
from hubtune.training.method import Result, Setting
from hubtune.training.seeds import derive
from hubtune.transfer.networks import Observation, Sources
from hubtune.transfer.transfer_learner import Term, TransferLearner
from hubtune.transfer.transfer_method import TransferMethod, Weights


@dataclass(frozen=True, kw_only=True)
class LwF(TransferMethod):
    """Distil the logits of every source that has an upstream head into an additional output layer on the target.

    Source: Li & Hoiem, Learning without Forgetting, 2018, as Jang et al. (2019), section 1 and 3.1, use it for another architecture.
    Differs from the paper: it does not state the weight and the temperature; here both are fields, the weight swept.
    """

    name: ClassVar[str] = "lwf"
    swept: ClassVar[tuple[str, ...]] = ("learning_rates", "weights")

    weights: Weights = (1.0,)
    """Of the distillation beside the task's loss, each tried."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Of both softmaxes."""

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> TransferLearner:
        sources, target = self.networks(backbones, task, setting)
        notes = headless_notes(sources)
        if not any(sources.num_logits):
            raise ModelError(
                f"{' '.join(notes)} lwf matches upstream logits and needs at least one model with num_classes > 0; use at or fm instead"
            )
        return TransferLearner(
            target,
            {
                "lwf_loss": LogitDistillation(
                    target.backbone.feature_dim, sources.num_logits, self.weights[0], self.temperature, setting.seed
                )
            },
            sources,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.learning_rate),
            runtime=setting.runtime,
            canvas_size=setting.canvas_size,
            label_smoothing=self.label_smoothing,
            summary={"warnings": notes} if notes else None,
        )


def headless_notes(sources: Sources) -> list[str]:
    """A warning for each source whose logits cannot be distilled, issued and returned."""
    notes = [
        f"{name} has no upstream head, so it has no logits to distil."
        for name, num_logits in zip(sources.names, sources.num_logits, strict=True)
        if not num_logits
    ]
    if any(sources.num_logits):
        for note in notes:
            warnings.warn(f"{note} Its part of lwf is left out.", stacklevel=3)
    return notes


class LogitDistillation(Term):
    """weight T^2 KL(softmax(source / T) || softmax(additional layer / T)), summed over the sources that have logits.

    T^2 keeps the gradient's size the same for all temperatures. Source: Hinton et al. (2015); Li & Hoiem (2018).

    Args:
        feature_dim: of the target's embedding.
        num_logits: of each source, 0 for none.
        weight: factor of the sum.
        temperature: T.
        seed: of the additional layers' weights.
    """

    needs_logits = True

    def __init__(self, feature_dim: int, num_logits: Sequence[int], weight: float, temperature: float, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "lwf"))
            self.layers = nn.ModuleDict({str(s): nn.Linear(feature_dim, count) for s, count in enumerate(num_logits) if count})
        self.weight = weight
        self.temperature = temperature

    def forward(self, target: Observation, sources: Sequence[Observation]) -> Float[Tensor, " B"]:
        losses = []
        for s, layer in self.layers.items():
            upstream = sources[int(s)].logits
            assert upstream is not None
            own = F.log_softmax(layer(target.embedding).float() / self.temperature, 1)
            losses.append(F.kl_div(own, F.log_softmax(upstream / self.temperature, 1), reduction="none", log_target=True).sum(1))
        return self.weight * self.temperature**2 * torch.stack(losses).sum(0)
