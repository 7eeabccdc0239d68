"""Adaptive feature transfer: keep what the task needs of other models' features."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hubtune.hub import Backbone
from hubtune.pathway.multi_teacher import split_student
from hubtune.pathway.students import Teachers
from hubtune.tasks import Task
from hubtune.training.heads import fit_head, linear_head
from hubtune.training.learner import Batch
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import PretrainedMethod


def kernel_distance(features: Float[Tensor, "B D"], teachers: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
    """sqrt(mean_ij (k(f_i, f_j) - k(s_i, s_j))^2), k the cosine of features centred over the batch.

    Unchanged when either side is rotated: it compares what the features say of the images' likeness, not their coordinates.
    """
    first, second = (nn.functional.normalize(x - x.mean(0), dim=1, eps=1e-8) for x in (features, teachers))
    return (first @ first.T - second @ second.T).square().mean().add(1e-8).sqrt()


class Scales(nn.Module):
    """A learnt weight in (0, 1) for each of the teachers' features, one half at first."""

    def __init__(self, count: int):
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(count))

    def forward(self, features: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        return features * self.scores.sigmoid()


@dataclass(frozen=True, kw_only=True)
class Aft(PretrainedMethod):
    """Fine-tune one network of the hub while the likeness of images in its features follows that in the others' weighted features.

        mean_b CE(h(f(x_b)), y_b) + beta min_rho d(f, rho * s)

    with f the student's embedding, s the frozen embeddings of all other models, standardised over the training images, d the distance of
    their kernels over the batch, and rho in (0, 1) a weight for each feature of s, trained along and dropped: what the task does not need
    is not transferred.

    Source: Qiu et al. (2024), Transferring knowledge from large foundation models to small downstream models; the authors' code for
    centring, normalising and the sigmoid.
    Differs from the paper: one optimizer for student and weights; the teachers are the hub's other models.
    """

    name: ClassVar[str] = "aft"
    takes_many: ClassVar[bool] = True

    student: str | None = None
    """The model that is taught; None: the one on whose frozen features a linear head does best on the validation split."""
    beta: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (3.0,)
    """Weight of the kernels' distance; of several values the best by validation is kept."""
    head_first: bool = True
    """Whether the student's head is first trained on frozen features."""

    def variants(self, task: Task) -> list[Method]:
        return [dataclasses.replace(variant, beta=(beta,)) for variant in self.rate_variants() for beta in self.beta]

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        student, others = split_student(self.student, backbones, task, setting)
        head = linear_head(task, student, self.name)
        if self.head_first:
            fit_head(head, student, task, setting)
        teachers = Teachers(others, task, setting)
        scales = Scales(teachers.dim)

        def objective(batch: Batch) -> Tensor:
            features = student.embed(student.view(batch.canvas))
            losses = task.loss(head(features), batch.targets, label_smoothing=self.label_smoothing)
            return losses + self.beta[0] * kernel_distance(features.float(), scales(teachers(batch)))

        return SupervisedLearner(
            Single(student, head),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            objective=objective,
            companions=scales,
        )
