"""The features of all models, distilled into one of them."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hubtune.errors import ConfigurationError
from hubtune.hub import Backbone
from hubtune.pathway.students import Teachers, best_by_probe, names_in, place_of
from hubtune.tasks import Task
from hubtune.training.heads import fit_head, linear_head
from hubtune.training.learner import Batch
from hubtune.training.method import Method, Result, Setting
from hubtune.training.predictor import Single
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import PretrainedMethod


def feature_distance(predicted: Float[Tensor, "B T"], teachers: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """mean_t (predicted_bt - teacher_bt)^2: with standardised features, the share of the teachers' variance that is not predicted."""
    return (predicted - teachers).square().mean(1)


@dataclass(frozen=True, kw_only=True)
class MultiTeacher(PretrainedMethod):
    """Fine-tune one network of the hub while a linear map of its features predicts the frozen features of all the others.

        mean_b CE(h(f(x_b)), y_b) + beta mean_b mean_t (r(f(x_b)) - s_t(x_b))^2

    with f the student's embedding, s the teachers' embeddings, standardised over the training images, and r linear, trained and dropped.

    Source: Romero et al. (2015), FitNets, with several teachers; the control that a practitioner would try first.
    Differs from the paper: the last embeddings rather than hints half-way; both terms at once rather than one after the other.
    """

    name: ClassVar[str] = "multi-teacher"
    takes_many: ClassVar[bool] = True

    student: str | None = None
    """The model that is taught; None: the one on whose frozen features a linear head does best on the validation split."""
    beta: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1.0,)
    """Weight of the teachers; of several values the best by validation is kept."""
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(setting.seed, self.name))
            predict = nn.Linear(student.feature_dim, teachers.dim)

        def objective(batch: Batch) -> Tensor:
            features = student.embed(student.view(batch.canvas))
            losses = task.loss(head(features), batch.targets, label_smoothing=self.label_smoothing)
            return losses + self.beta[0] * feature_distance(predict(features).float(), teachers(batch))

        return SupervisedLearner(
            Single(student, head),
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            objective=objective,
            companions=predict,
        )


def split_student(student: str | None, backbones: list[Backbone], task: Task, setting: Setting) -> tuple[Backbone, list[Backbone]]:
    """The network that is taught, and its teachers: all the others.

    Raises:
        ConfigurationError: the hub has one model only.
        UnknownNameError: the student is not in the hub.
    """
    if len(backbones) == 1:
        raise ConfigurationError(
            f"a hub of one model, {backbones[0].card.name}, has no teachers for it; give two models or more, or fine-tune it"
        )
    place = place_of(student, names_in(backbones)) if student else best_by_probe(backbones, task, setting)
    return backbones[place], [backbone for i, backbone in enumerate(backbones) if i != place]
