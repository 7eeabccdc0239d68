"""The first steps of fine-tuning, as a score: the validation metric after few steps, of trainings that go on from round to round."""

import time
from dataclasses import dataclass, field

import torch

from hubtune.errors import TrainingError, of_model
from hubtune.features import extract
from hubtune.hub import Hub
from hubtune.runs import Event, Listener
from hubtune.selection.halving import TUNED
from hubtune.selection.scoring import Scored, check_time
from hubtune.tasks import Task
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate
from hubtune.training.heads import fit_head
from hubtune.training.method import Setting
from hubtune.training.predictor import Single
from hubtune.training.runtime import Runtime
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import AUTO_RATES, TrainedMethod


@dataclass
class _Training:
    """Of one model."""

    learner: SupervisedLearner
    batches: Batches
    canvas_size: int | None
    step: int = 0
    passes: int = 0


@dataclass(kw_only=True)
class ShortTuning:
    """Trainings of the models that are left: a linear head on frozen features first (heads of other kinds as they are drawn), then AdamW
    at its bold rate on everything.

    The schedule has the length of the last round, so that a later round continues an earlier one. Weights and optimizers of the models that
    are left stay in memory.
    """

    task: Task
    steps: int
    """Of the last round."""
    input_size: int | None = None
    seed: int = 0
    device: str = "cpu"
    deadline: float | None = None
    """``time.time()`` after which no further step is made."""
    trainings: dict[str, _Training] = field(default_factory=dict)

    def score(self, hub: Hub, steps: int, before: dict[str, Scored], on_event: Listener) -> dict[str, Scored]:
        """Train every model of a hub until so many steps are made, counted from the first round.

        Args:
            before: what is known of the models; their scores are kept.

        Returns:
            Scores with TUNED among them, by model.
        """
        self.trainings = {name: training for name, training in self.trainings.items() if name in hub}
        found = {}
        for position, name in enumerate(hub.names):
            began = time.monotonic()
            scored = found[name] = Scored(scores=dict(before[name].scores) if name in before else {})
            try:
                scored.scores[TUNED] = self._train(hub, name, steps)
            except Exception as error:
                scored.fail(of_model(name, error), on_event)
            if name in self.trainings:
                scored.forward_passes, self.trainings[name].passes = self.trainings[name].passes, 0
            scored.seconds = time.monotonic() - began
            on_event(Event("short fine-tuning", position + 1, len(hub), name))
        return found

    def _train(self, hub: Hub, name: str, steps: int) -> float:
        check_time(self.deadline)
        if name not in self.trainings:
            self.trainings[name] = self._begin(hub, name)
        training = self.trainings[name]
        with torch.random.fork_rng(devices=[]):
            while training.step < steps:
                check_time(self.deadline)
                batch = training.batches(training.step)
                torch.manual_seed(derive(self.seed, "step", training.step, 0))
                loss = training.learner.step(batch, training.step / self.steps)["loss"]
                training.step += 1
                training.passes += len(batch)
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"{name}: the loss is {float(loss)} after {training.step} steps of fine-tuning")
        training.passes += len(self.task.val)
        return evaluate(training.learner.predictor(), self.task, self.task.val, training.canvas_size, self._runtime)[1][self.task.metric]

    @property
    def _runtime(self) -> Runtime:
        # A search runs in one process while the others wait for its answer.
        return Runtime(device_name=self.device, alone=True)

    def _begin(self, hub: Hub, name: str) -> _Training:
        backbone = hub.load(name, input_size=hub[name].size_within(self.input_size))
        canvas_size = self.task.canvas_size([backbone.input_size])
        runtime, method = self._runtime, TrainedMethod(steps=self.steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "learner"))
            head = self.task.head(backbone)
            passes = 0
            if isinstance(head, torch.nn.Linear):
                passes = sum(extract(backbone, split, canvas_size, self.device).computed for split in (self.task.train, self.task.val))
            fit_head(head, backbone, self.task, Setting(seed=self.seed, canvas_size=canvas_size, runtime=runtime))
        learner = SupervisedLearner(
            Single(backbone, head), self.task, steps=self.steps, optimization=method.optimization(AUTO_RATES[0]), runtime=runtime
        )
        batches = Batches(
            task=self.task,
            split=self.task.train,
            canvas_size=canvas_size,
            batch_size=method.scheduled_batch_size(self.task),
            seed=derive(self.seed, "batches"),
            device=runtime.device,
        )
        return _Training(learner, batches, canvas_size, passes=passes)
