"""One training of one policy: resumable to the agent step, computed once, kept as a folder."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hubtune.errors import RunError
from hubtune.rl.evaluation import Episode, evaluate, write_video
from hubtune.rl.learner import RainbowLearner
from hubtune.rl.methods import PolicyMethod
from hubtune.rl.policy import PolicyCard, SourcePolicy, save_policy
from hubtune.rl.scores import human_normalised
from hubtune.rl.world import world_named
from hubtune.runs import lock, read_record, write_atomically, write_record
from hubtune.training.cells import Work, environment
from hubtune.training.learner import Batch
from hubtune.training.loop import DamagedCheckpoint, Plan, set_aside, train
from hubtune.training.method import Cell
from hubtune.training.seeds import derive

VIDEO = "episode.gif"
EMPTY = Batch(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
"""What the loop hands to a learner that makes its own batches."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One policy to be trained."""

    game: str
    """Its ``full_name``: however a game is written, its training is one."""
    method: PolicyMethod
    sources: tuple[SourcePolicy, ...] = ()
    seed: int = 0

    @property
    def cell(self) -> Cell:
        """What names its folder: its id is a hash of everything that the result depends on."""
        return Cell(
            method=self.method,
            models=tuple(source.name for source in self.sources),
            fingerprints=tuple(source.sha256 for source in self.sources),
            input_size=None,
            task=f"game:{self.game}",
            seed=self.seed,
        )

    @property
    def label(self) -> str:
        """In words: the method, and the sources where it has any."""
        names = "+".join(source.name for source in self.sources)
        return f"{self.method.name} from {names}" if names else self.method.name


def finished(training: Training, work: Work) -> dict[str, Any] | None:
    """The record of a training that is there and whole."""
    folder = work.folder(training.cell)
    try:
        record = read_record(folder)
    except RunError:
        return None
    return record if (folder / "model").is_dir() else None


def train_policy(training: Training, work: Work) -> dict[str, Any]:
    """The record of a training: read where it is finished, resumed where it was interrupted, else computed.

    Raises:
        Diverged: a loss is NaN or infinite.
        OutOfTime: the deadline has passed; the next call goes on from there.
        ConfigurationError: the method cannot take these sources.
        RunError: the folder cannot be written.
    """
    training.method.check_sources(training.sources)
    with lock(work.progress_folder(training.cell)):
        record = finished(training, work)
        if record is None:
            try:
                _train_and_write(training, work)
            except DamagedCheckpoint:
                set_aside(work.checkpoint(training.cell))
                _train_and_write(training, work)
            record = read_record(work.folder(training.cell))
    shutil.rmtree(work.progress_folder(training.cell), ignore_errors=True)
    return record


def _train_and_write(training: Training, work: Work) -> None:
    method, device = training.method, work.runtime.device
    make_world = world_named(training.game, method)
    world = make_world()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(training.seed, "start"))
        start = method.start(training.sources, world.actions)
    learner = RainbowLearner(start.policy, start.objective, method, world, seed=derive(training.seed, "learner"), device=device)

    def score() -> dict[str, float]:
        seed = derive(training.seed, "evaluation")
        return _scores(evaluate(start.policy, make_world, method, episodes=method.evaluation_episodes, seed=seed, device=device))

    plan = Plan(
        seed=training.seed,
        evaluate_every=method.evaluate_every,
        metric="score",
        checkpoint=work.checkpoint(training.cell),
        checkpoint_seconds=work.checkpoint_seconds,
        deadline=work.deadline,
        on_progress=work.on_progress,
    )
    history = train(learner, lambda step: EMPTY, score, plan, work.runtime)
    world.close()
    # Games of other seeds than those of the curve, by which the best of several policies is chosen.
    seed = derive(training.seed, "test")
    episodes = evaluate(start.policy, make_world, method, episodes=method.test_episodes, seed=seed, device=device, filmed=True)
    notes = [*start.notes]
    if method.steps <= max(method.learn_from, method.n_step):
        notes.append(
            f"nothing was learnt in {method.steps} steps: learning begins after learn_from = {method.learn_from} and looks "
            f"n_step = {method.n_step} ahead; give more steps"
        )
    _write(training, work.folder(training.cell), learner, history, episodes, notes, world.name, world.actions)


def _write(
    training: Training,
    target: Path,
    learner: RainbowLearner,
    history: list[dict[str, float]],
    episodes: Sequence[Episode],
    notes: Sequence[str],
    game: str,
    actions: tuple[str, ...],
) -> None:
    cell, method = training.cell, training.method
    metrics = {f"test_{name}": value for name, value in _scores(episodes, game).items()}
    record = {
        "kind": "policy",
        "id": cell.id,
        "method": method.name,
        "label": training.label,
        "config": method.config(),
        "models": list(cell.models),
        "seed": training.seed,
        "game": game,
        "task": {"name": game, "kind": "game", "metric": "score"},
        "actions": list(actions),
        "notes": list(notes),
        "metrics": metrics,
        "history": history,
        "games": learner.games,
        "episodes": [{"score": episode.score, "steps": episode.steps, "cut": episode.cut} for episode in episodes],
        "seconds": learner.seconds,
        "steps_per_second": method.steps / learner.seconds,
        "environment": environment(),
    }
    card = PolicyCard(
        game=game,
        actions=actions,
        steps=method.steps,
        method=method.name,
        sources=cell.models,
        seed=training.seed,
        score=metrics["test_score"],
        human_normalised=metrics.get("test_human_normalised"),
        settings=method.config(),
    )
    with write_atomically(target) as folder:
        save_policy(learner.predictor(), card, folder / "model")
        write_video(episodes[0].pictures, folder / VIDEO)
        write_record(folder, record)


def _scores(episodes: Sequence[Episode], game: str | None = None) -> dict[str, float]:
    """Mean, spread and length of games; the human-normalised mean where the game has published scores."""
    scores = np.array([episode.score for episode in episodes])
    found = {
        "score": float(scores.mean()),
        "score_spread": float(scores.std()),
        "game_steps": float(np.mean([episode.steps for episode in episodes])),
    }
    normalised = None if game is None else human_normalised(game, found["score"])
    return found if normalised is None else found | {"human_normalised": normalised}
