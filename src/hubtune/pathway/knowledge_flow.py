"""Knowledge flow: a student that leans on its teachers' maps at first, and stands alone in the end."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hubtune.errors import ModelError
from hubtune.hub import Backbone
from hubtune.pathway.batch_norm import batch_norms, untouched
from hubtune.pathway.multi_teacher import split_student
from hubtune.tasks import Task
from hubtune.training.heads import fit_head
from hubtune.training.learner import Batch
from hubtune.training.method import Result, Setting
from hubtune.training.predictor import Single, freeze
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import PretrainedMethod

OWN_AT_FIRST = 0.5
"""The student's weight at each layer before training; the teachers share the rest."""


class Flow(nn.Module):
    """At each of the student's L maps: w_0 s + sum_i w_i r_i(t_i), w = softmax of trainable scores, r_i a 1 x 1 convolution.

    A teacher's map is resized to the student's. Teacher i's map for the student's layer l is the one equally deep in its own network.

    Source: Liu, Peng and Schwing (2019), Knowledge flow: improve upon your teachers, section 3.
    Differs from the paper: each student layer takes one map of each teacher, not all of them.
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[Sequence[int]]):
        """
        Args:
            student_channels: of each of the student's maps.
            teacher_channels: of each teacher's maps.
        """
        super().__init__()
        layers = len(student_channels)
        self.levels = [[round(layer * (len(own) - 1) / max(1, layers - 1)) for own in teacher_channels] for layer in range(layers)]
        self.transforms = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(own[level], channels, 1) for own, level in zip(teacher_channels, levels, strict=True))
            for channels, levels in zip(student_channels, self.levels, strict=True)
        )
        teachers = len(teacher_channels)
        others = torch.tensor((1 - OWN_AT_FIRST) / teachers).log().expand(teachers)
        self.scores = nn.Parameter(torch.cat([torch.tensor([OWN_AT_FIRST]).log(), others]).repeat(layers, 1))

    def forward(self, layer: int, own: Float[Tensor, "B C H W"], maps: Sequence[Sequence[Tensor]]) -> Float[Tensor, "B C H W"]:
        """The mixed map of one layer."""
        weights = self.scores[layer].softmax(0)
        mixed = weights[0] * own
        for i, (transform, level) in enumerate(zip(self.transforms[layer], self.levels[layer], strict=True)):  # pyright: ignore
            resized = F.interpolate(maps[i][level], own.shape[-2:], mode="bilinear", align_corners=False)
            mixed = mixed + weights[i + 1] * transform(resized)
        return mixed

    def dependency(self) -> Float[Tensor, ""]:
        """-sum_l log w_l0: zero where the student needs nobody."""
        return -self.scores.log_softmax(1)[:, 0].sum()


@dataclass(frozen=True, kw_only=True)
class KnowledgeFlow(PretrainedMethod):
    """Fine-tune one network of the hub whose maps are mixed, in training, with those of all other models, frozen.

        mean_b CE(student with teachers, y_b) + mean_b CE(student alone, y_b) + dependency * (-sum_l log w_l0)

    The last term drives the student's own weights to one; the teachers are dropped in the end, and evaluations are of the student alone.

    Source: Liu, Peng and Schwing (2019), Knowledge flow: improve upon your teachers, Equations 1 to 4.
    Differs from the paper: the student also learns alone at each step, in place of the term that keeps its answers while the teachers
    fade; it starts pre-trained; and as ``Flow``.
    """

    name: ClassVar[str] = "knowledge-flow"
    takes_many: ClassVar[bool] = True

    student: str | None = None
    """The model that is taught; None: the one on whose frozen features a linear head does best on the validation split."""
    dependency: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the term that makes the student independent."""
    head_first: bool = True
    """Whether the student's head is first trained on frozen features."""

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        student, others = split_student(self.student, backbones, task, setting)
        head = task.head(student)
        if self.head_first:
            fit_head(head, student, task, setting)  # pyright: ignore[reportArgumentType]
        teachers = [teacher.to(setting.runtime.device) for teacher in others]
        for teacher in teachers:
            freeze(teacher)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, self.name))
            flow = Flow(channels_of(student), [channels_of(teacher) for teacher in teachers])
        network = Single(student, head)

        def objective(batch: Batch) -> Tensor:
            with torch.no_grad():
                maps = [teacher.maps(teacher.view(batch.canvas)) for teacher in teachers]
            # What is handed over is the student alone: its statistics must not be those of mixed maps.
            with flowing(student, flow, maps), untouched(batch_norms(network)):
                together = task.loss(network(batch.canvas), batch.targets, label_smoothing=self.label_smoothing)
            alone = task.loss(network(batch.canvas), batch.targets, label_smoothing=self.label_smoothing)
            return together + alone + self.dependency * flow.dependency()

        return SupervisedLearner(
            network,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            objective=objective,
            companions=flow,
        )


def channels_of(backbone: Backbone) -> list[int]:
    """Channels of a model's maps."""
    return [channels for channels, _, _ in backbone.map_shapes]


@contextlib.contextmanager
def flowing(student: Backbone, flow: Flow, maps: Sequence[Sequence[Tensor]]) -> Iterator[None]:
    """Mix the teachers' maps into the student's while the block runs.

    Raises:
        ModelError: the student's layers do not yield maps (B, C, H, W).
    """

    def mixing(layer: int):
        def hook(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            channels = flow.transforms[layer][0].out_channels  # pyright: ignore
            if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[1] != channels:
                raise ModelError(
                    f"{student.card.name} ({student.card.architecture}) yields no maps (B, C, H, W) inside, so that nothing can flow into "
                    "them; name a convolutional network as student"
                )
            return flow(layer, output, maps)

        return hook

    handles = [student.network.get_submodule(name).register_forward_hook(mixing(layer)) for layer, name in enumerate(student.map_names)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
