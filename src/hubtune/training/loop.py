"""The only loop: batches, evaluation, progress, checkpoints, time limits. What a step does is the learner's business."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hubtune.errors import RunError, TrainingError
from hubtune.features import is_out_of_memory
from hubtune.runs import cause_of
from hubtune.training.learner import Batch, Learner
from hubtune.training.runtime import Runtime
from hubtune.training.seeds import derive

CHECK_EVERY = 10
"""Steps between looks at the loss: each look waits for the device."""


class Diverged(TrainingError):
    """The loss is no longer a number: the same configuration will always end so."""


class OutOfTime(TrainingError):
    """The time limit was reached; a checkpoint holds what was done."""

    def __init__(self, message: str, history: list[dict[str, float]] | None = None):
        """
        Args:
            history: the evaluations so far.
        """
        super().__init__(message)
        self.history = history or []


class DamagedCheckpoint(TrainingError):
    """The checkpoint cannot be read; without it the training starts anew."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the loop goes about its work; none of it changes what a step computes."""

    seed: int
    evaluate_every: int
    """Steps between evaluations on the validation split."""
    until: int | None = None
    """Step after which to pause, with an evaluation and a checkpoint; None goes on to the learner's last."""
    patience: int | None = None
    """Evaluations without a better metric after which training stops; None never stops."""
    keep_best: bool = False
    """Whether the weights of the best evaluation are kept rather than the last ones."""
    metric: str = "accuracy"
    """Of the evaluation; higher is better."""
    checkpoint: Path | None = None
    """File to resume from and to write to; None writes none."""
    checkpoint_seconds: float = 20.0
    deadline: float | None = None
    """``time.monotonic()`` after which to stop."""
    on_progress: Callable[[int, int, dict[str, float]], None] = field(default=lambda step, steps, scalars: None)


@dataclass
class _State:
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_weights: dict[str, Any] | None = None
    since_best: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)


def train(
    learner: Learner,
    batches: Callable[[int], Batch],
    evaluate: Callable[[], dict[str, float]],
    plan: Plan,
    runtime: Runtime,
) -> list[dict[str, float]]:
    """Train for ``learner.steps`` steps, or until validation says stop, or the plan says pause.

    An interrupted training that is started again with the same checkpoint ends as if it had not been interrupted.

    Args:
        batches: the batch of each step.
        evaluate: metrics on the validation split.

    Returns:
        The history: one row an evaluation, with ``step``, ``progress``, the mean training loss since the last row and ``val_`` metrics.

    Raises:
        Diverged: a loss is NaN or infinite.
        OutOfTime: the deadline has passed; the learner holds the weights that would have been kept.
        DamagedCheckpoint: the checkpoint is none, or of another training.
        RunError: the checkpoint cannot be read or written.
    """
    state = _State()
    if plan.checkpoint is not None and plan.checkpoint.exists():
        _restore(plan.checkpoint, learner, state, runtime)
    saved = time.monotonic()
    end = min(plan.until or learner.steps, learner.steps)
    pauses = end < learner.steps
    with _held_interrupts() as interrupted, torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        while state.step < end and not (plan.patience and state.since_best >= plan.patience):
            _one_step(learner, batches, state, plan, runtime)
            last = state.step == end
            if last or state.step % plan.evaluate_every == 0:
                _evaluate(learner, evaluate, state, plan, runtime)
            late = plan.deadline is not None and runtime.on_main(lambda: time.monotonic() > plan.deadline)  # pyright: ignore
            due = late or interrupted.is_set() or time.monotonic() - saved > plan.checkpoint_seconds
            if (pauses and last) or (due and not last):
                _save(plan.checkpoint, learner, state, runtime)
                saved = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt
            if late and not last:
                _keep_best(learner, state)
                message = f"the time limit was reached at step {state.step} of {learner.steps}; the same command goes on from there"
                raise OutOfTime(message, state.history)
        if pauses and state.step == end:
            return state.history
        _keep_best(learner, state)
        learner.finish(batches(step) for step in range(state.step, state.step + 50))
    if interrupted.is_set():
        raise KeyboardInterrupt
    return state.history


@contextlib.contextmanager
def _held_interrupts() -> Iterator[threading.Event]:
    """Ctrl-C within the block sets the event: half a step must not get into a checkpoint. A second Ctrl-C ends the block at once."""
    came = threading.Event()

    def note(*_: object) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if threading.current_thread() is not threading.main_thread():
        yield came  # only the main thread is ever interrupted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _one_step(learner: Learner, batches: Callable[[int], Batch], state: _State, plan: Plan, runtime: Runtime) -> None:
    batch = batches(state.step)
    share = len(batch) // runtime.processes
    if runtime.processes > 1 and share:
        batch = batch.rows(runtime.rank * share, (runtime.rank + 1) * share)
    while True:
        # Whatever a step draws (dropout, noise) depends on the step alone, so that a resumed training draws the same.
        runtime.seed(derive(plan.seed, "step", state.step, runtime.rank))
        try:
            scalars = learner.step(batch, state.step / learner.steps)
            break
        except RuntimeError as error:
            if not (is_out_of_memory(error) and learner.halve_chunks()):
                raise
            warnings.warn("memory ran out: batches are now worked through in chunks half as large", RuntimeWarning, stacklevel=2)
    state.losses.append(runtime.mean(scalars["loss"].detach()))
    state.step += 1
    if state.step % CHECK_EVERY == 0 or state.step == learner.steps:
        _check(state.losses[-CHECK_EVERY:], state, learner)
        values = {name: float(value) for name, value in scalars.items()} | {"loss": float(state.losses[-1])}
        plan.on_progress(state.step, learner.steps, values)


def _check(losses: Sequence[torch.Tensor], state: _State, learner: Learner) -> None:
    values = torch.stack(list(losses))
    odd = values[~torch.isfinite(values)]
    if len(odd):
        raise Diverged(
            f"the loss became {float(odd[0])} by step {state.step} of {learner.steps}; choose a smaller learning rate or clip the gradient"
        )


def _evaluate(learner: Learner, evaluate: Callable[[], dict[str, float]], state: _State, plan: Plan, runtime: Runtime) -> None:
    _check(state.losses[-CHECK_EVERY:], state, learner)
    # Processes have BatchNorm statistics of their own: what follows from the metrics must not differ between them.
    metrics = runtime.on_main(evaluate)
    row = {"step": state.step, "progress": state.step / learner.steps, "train_loss": float(torch.stack(state.losses).mean())}
    state.history.append(row | {f"val_{name}": value for name, value in metrics.items()})
    state.losses.clear()
    score = metrics[plan.metric]
    if state.best is None or score > state.best:
        state.best, state.since_best = score, 0
        if plan.keep_best:
            state.best_weights = {name: value.detach().clone() for name, value in learner.predictor().state_dict().items()}
    else:
        state.since_best += 1


def _keep_best(learner: Learner, state: _State) -> None:
    if state.best_weights is not None:
        learner.predictor().load_state_dict(state.best_weights)


def _save(path: Path | None, learner: Learner, state: _State, runtime: Runtime) -> None:
    if path is None or not runtime.is_main:
        return
    content = {
        "learner": learner.state_dict(),
        "loop": {name: getattr(state, name) for name in ("step", "history", "best", "best_weights", "since_best")}
        | {"losses": torch.stack(state.losses) if state.losses else []},
    }
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, temporary)
        os.replace(temporary, path)
    # A full disk is a RuntimeError to torch.
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"the checkpoint {path} cannot be written ({cause_of(error)}); free some space, and the same command goes on"
        ) from error


def set_aside(checkpoint: Path) -> None:
    """Keep a damaged checkpoint under another name, out of the way of a training that starts anew, and warn."""
    damaged = checkpoint.with_suffix(".damaged")
    os.replace(checkpoint, damaged)
    told = f"the checkpoint {checkpoint} is damaged: training starts anew, and it is kept as {damaged.name} meanwhile"
    warnings.warn(told, RuntimeWarning, stacklevel=2)


def _restore(path: Path, learner: Learner, state: _State, runtime: Runtime) -> None:
    try:
        content = torch.load(path, map_location=runtime.device, weights_only=True)
        learner.load_state_dict(content["learner"])
    except OSError as error:
        raise RunError(f"the checkpoint {path} cannot be read ({cause_of(error)}); once it can be, the same command goes on") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise DamagedCheckpoint(f"the checkpoint {path} is damaged ({error}); delete it to train from the start") from error
    for name, value in content["loop"].items():
        setattr(state, name, list(value) if name == "losses" else value)
