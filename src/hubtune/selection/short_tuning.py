"""The first steps of fine-tuning, as a score: the validation metric after few steps, of trainings that go on from round to round."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from hubtune.engines import Engine, OneProcess
from hubtune.errors import of_model
from hubtune.features import extract
from hubtune.hub import Backbone, Hub
from hubtune.runs import Event, Listener, cache_folder, lock
from hubtune.selection.halving import TUNED
from hubtune.selection.memory import Memory
from hubtune.selection.scoring import NotScoredInTime, Scored, check_time
from hubtune.tasks import Task
from hubtune.training.batches import Batches
from hubtune.training.evaluation import evaluate
from hubtune.training.heads import fit_head
from hubtune.training.learner import Batch
from hubtune.training.loop import DamagedCheckpoint, OutOfTime, Plan, set_aside, train
from hubtune.training.method import PROTOCOL_VERSION, Setting
from hubtune.training.predictor import Single
from hubtune.training.runtime import Runtime
from hubtune.training.seeds import derive
from hubtune.training.supervised import SupervisedLearner
from hubtune.training.trained_method import AUTO_RATES, TrainedMethod


@dataclass(frozen=True, kw_only=True)
class ShortTuning:
    """How models are trained to be compared: a linear head on frozen features first (heads of other kinds as they are drawn), then AdamW
    at its bold rate on everything.

    The schedule has the length of the last round, so that a later round continues an earlier one from its checkpoint. Scores stay in the
    cache, checkpoints until they are forgotten.
    """

    task: Task
    rounds: tuple[int, ...]
    """Steps after which models are compared, growing."""
    input_size: int | None = None
    seed: int = 0
    device: str = "cpu"
    deadline: float | None = None
    """``time.time()`` after which nothing is begun, and a training pauses."""

    def score(self, name: str, *, hub: Hub, until: int) -> Scored:
        """Train one model until so many steps are made, counted from the first round; what is wrong with the model is in the answer.

        Returns:
            the validation metric, as TUNED.

        Raises:
            RunError: the cache cannot be written; what is in it is not lost.
        """
        began, scored = time.monotonic(), Scored()
        try:
            scored.scores[TUNED] = self._known(name, hub, until, scored)
        except Exception as error:
            scored.fail(of_model(error))
        scored.seconds = time.monotonic() - began
        return scored

    def _known(self, name: str, hub: Hub, until: int, scored: Scored) -> float:
        check_time(self.deadline)
        size = hub[name].size_within(self.input_size)
        memory = Memory(hub.fingerprint(name, size), self.task.canvas_size([size]), self.task, self.seed)
        label = f"{TUNED} after {until} of {self.rounds[-1]} steps, protocol {PROTOCOL_VERSION}"
        key = "-".join(map(str, (memory.key, PROTOCOL_VERSION, *self.rounds)))
        checkpoint = scored.checkpoint = cache_folder() / "trainings" / key / "checkpoint.pt"
        if label in (known := memory.read()):
            return known[label]
        with lock(checkpoint.parent):
            check_time(self.deadline)
            if label in (known := memory.read()):  # another process has trained it meanwhile
                return known[label]
            try:
                value = self._train(name, hub, until, checkpoint, scored)
            except DamagedCheckpoint:
                set_aside(checkpoint)
                value = self._train(name, hub, until, checkpoint, scored)
            memory.add({label: value})
        return value

    def _train(self, name: str, hub: Hub, until: int, checkpoint: Path, scored: Scored) -> float:
        backbone = hub.load(name, input_size=hub[name].size_within(self.input_size))
        # A search runs in one process while the others wait for its answer.
        runtime = Runtime(device_name=self.device, alone=True)
        canvas_size = self.task.canvas_size([backbone.input_size])
        learner = self._learner(backbone, Setting(seed=self.seed, canvas_size=canvas_size, runtime=runtime), scored)
        batches = Batches(
            task=self.task,
            split=self.task.train,
            canvas_size=canvas_size,
            batch_size=TrainedMethod().scheduled_batch_size(self.task),
            seed=derive(self.seed, "batches"),
            device=runtime.device,
        )

        def counted(step: int) -> Batch:
            batch = batches(step)
            scored.forward_passes += len(batch)
            return batch

        def metrics() -> dict[str, float]:
            scored.forward_passes += len(self.task.val)
            return evaluate(learner.predictor(), self.task, self.task.val, canvas_size, runtime)[1]

        plan = Plan(
            seed=self.seed,
            evaluate_every=self.rounds[-1],
            until=until,
            metric=self.task.metric,
            checkpoint=checkpoint,
            deadline=None if self.deadline is None else time.monotonic() + self.deadline - time.time(),
        )
        try:
            history = train(learner, counted, metrics, plan, runtime)
        except OutOfTime as error:
            raise NotScoredInTime(f"not scored: {error}") from error
        found = [row[f"val_{self.task.metric}"] for row in history if row["step"] == until]
        if not found:
            raise DamagedCheckpoint(f"the checkpoint {checkpoint} is past step {until}, of which nothing is known")
        return found[0]

    def _learner(self, backbone: Backbone, setting: Setting, scored: Scored) -> SupervisedLearner:
        method = TrainedMethod(steps=self.rounds[-1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "learner"))
            head = self.task.head(backbone)
            if isinstance(head, torch.nn.Linear):
                for split in (self.task.train, self.task.val):
                    features = extract(backbone, split, setting.canvas_size, self.device, on_progress=lambda _: check_time(self.deadline))
                    scored.forward_passes += features.computed
                fit_head(head, backbone, self.task, setting)
        return SupervisedLearner(
            Single(backbone, head),
            self.task,
            steps=self.rounds[-1],
            optimization=method.optimization(AUTO_RATES[0]),
            runtime=setting.runtime,
        )


def forget(checkpoint: Path) -> None:
    """Delete what is kept of a training that does not go on."""
    with lock(checkpoint.parent):
        checkpoint.unlink(missing_ok=True)


def tune_all(tuning: ShortTuning, hub: Hub, until: int, engine: Engine | None, on_event: Listener) -> dict[str, Scored]:
    """Train every model of a hub until so many steps are made: one after another in this process, or as jobs of an engine.

    Returns:
        Scores by model.
    """
    results: dict[str, Scored] = {}
    score = partial(tuning.score, hub=hub, until=until)
    for position, scored in (engine or OneProcess()).do(score, hub.names, threads=torch.get_num_threads()):
        name = hub.names[position]
        results[name] = scored
        scored.tell(name, on_event)
        on_event(Event("short fine-tuning", len(results), len(hub), name))
    return {name: results[name] for name in hub.names}
