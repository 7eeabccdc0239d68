"""The knowledge of several models in one network."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from hubtune.hub import Backbone, Hub
from hubtune.pathway.assembled import best_first, trainings
from hubtune.pathway.ensemble import EnsemblePredictor
from hubtune.pathway.routed_hub import RoutedHub
from hubtune.pathway.students import best_by_probe, is_augmented, names_in, place_of
from hubtune.tasks import Task
from hubtune.training.evaluation import outputs_of
from hubtune.training.heads import fit_head
from hubtune.training.learner import Batch
from hubtune.training.method import Need, Result, Setting
from hubtune.training.predictor import Predictor, Single, freeze
from hubtune.training.saving import load_weights, read_description
from hubtune.training.supervised import Objective, SupervisedLearner
from hubtune.training.trained_method import PretrainedMethod


def distillation_loss(
    task: Task,
    student: Float[Tensor, "B C ..."],
    teacher: Float[Tensor, "B C ..."],
    targets: Tensor,
    *,
    temperature: float,
    alpha: float,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " B"]:
    """alpha d(student, teacher) + (1 - alpha) l(student, y) for each image, with the task's own distance and loss.

    Of classes, d = T^2 KL(softmax(teacher / T) || softmax(student / T)) and l the cross entropy.

    Source: Hinton et al. (2015), Distilling the knowledge in a neural network.
    """
    soft = task.imitation(student, teacher, temperature=temperature)
    return alpha * soft + (1 - alpha) * task.loss(student, targets, label_smoothing=label_smoothing)


@dataclass(frozen=True, kw_only=True)
class Distill(PretrainedMethod):
    """Teach one network of the hub what all its models together answer: an ensemble of their fine-tunings, or a routed hub.

    The student starts pre-trained, like any fine-tuning; what is deployed costs what one model costs. Without augmentation the teacher
    answers once for each training image; with it, at every step.

    Source: Shu et al. (2022), section 4.1, "Distill"; Hinton et al. (2015).
    Differs from the paper: it gives neither temperature nor weight, and knows the ensemble as teacher only.
    """

    name: ClassVar[str] = "distill"
    takes_many: ClassVar[bool] = True

    student: str | None = None
    """The model that is taught; None: the one best by validation, fine-tuned alone where the ensemble teaches, else by a linear probe."""
    teacher: Literal["ensemble", "hub-pathway"] = "ensemble"
    """Whose answers are taught."""
    teacher_config: dict[str, Any] = field(default_factory=dict)
    """The teacher's own fields."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """Of both softmaxes; higher lets the less likely classes count for more."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the teacher's answers; the labels have the rest."""
    head_first: bool = True
    """Whether the student's head is first trained on frozen features."""
    base: str = "fine-tune"
    """The method that trains each model of the ensemble."""
    base_config: dict[str, Any] = field(default_factory=dict)
    """Its fields."""

    def needs(self, models: tuple[str, ...], task: Task) -> list[Need]:
        if self.teacher == "hub-pathway":
            return [Need(method=self.teacher, config=self.teacher_config, models=models)]
        ensemble = {**self.teacher_config, "base": self.base, "base_config": self.base_config}
        return [*trainings(self.base, self.base_config, models), Need(method="ensemble", config=ensemble, models=models)]

    def check(self, hub: Hub, task: Task) -> None:
        if self.student is not None:
            place_of(self.student, hub.names)

    def learner(self, backbones: list[Backbone], task: Task, results: list[Result], setting: Setting) -> SupervisedLearner:
        *singles, teacher = results
        backbone = backbones[self._place(backbones, singles, task, setting)]
        head = task.head(backbone)
        if self.head_first:
            fit_head(head, backbone, task, setting)  # pyright: ignore[reportArgumentType]
        network = Single(backbone, head)
        return SupervisedLearner(
            network,
            task,
            steps=self.scheduled_steps(task),
            optimization=self.optimization(self.tried_rates(self.learning_rates)[0]),
            runtime=setting.runtime,
            frozen_batch_norm=self.batch_norm == "frozen",
            objective=self._objective(network, _load(teacher), task, setting),
        )

    def _place(self, backbones: list[Backbone], singles: list[Result], task: Task, setting: Setting) -> int:
        """Where the student is in the hub."""
        if self.student is None and not singles:
            return best_by_probe(backbones, task, setting)
        return place_of(self.student or best_first(singles, task)[0].cell.models[0], names_in(backbones))

    def _objective(self, network: Single, teacher: Predictor, task: Task, setting: Setting) -> Objective:
        teacher.to(setting.runtime.device)
        known = None if is_augmented(task) else outputs_of(teacher, task.train, setting.canvas_size, setting.runtime)
        known = None if known is None else known.to(setting.runtime.device)
        options = {"temperature": self.temperature, "alpha": self.alpha, "label_smoothing": self.label_smoothing}

        def objective(batch: Batch) -> Tensor:
            with torch.no_grad():
                answers = teacher(batch.canvas) if known is None else known[batch.indices.to(known.device)]
            return distillation_loss(task, network(batch.canvas).float(), answers, batch.targets, **options)

        return objective


def _load(result: Result) -> Predictor:
    folder = result.folder / "model"
    spec = read_description(folder)["predictor"]
    teacher = {cls.kind: cls for cls in (EnsemblePredictor, RoutedHub)}[spec["kind"]].from_spec(spec)
    load_weights(teacher, folder)
    freeze(teacher)
    return teacher
