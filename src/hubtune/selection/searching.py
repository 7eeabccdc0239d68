"""The search itself: one forward pass per (model, image), then proxies, then the strategy, then what past runs say of its answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hubtune.engines import Engine
from hubtune.errors import ConfigurationError, SearchError
from hubtune.hub import Hub
from hubtune.proxies import find_proxy
from hubtune.runs import Listener, silent
from hubtune.selection.budget import Budget
from hubtune.selection.halving import TUNED
from hubtune.selection.meta_learned import PREDICTED
from hubtune.selection.past_runs import PastRun, cells, past_runs
from hubtune.selection.predicting import PredictionError, Predictions, TaskFacts, predict
from hubtune.selection.ranking import Ranking
from hubtune.selection.rounds import Round, Staged, part, within
from hubtune.selection.scoring import NotScoredInTime, Scored, Scoring, score_all, score_on
from hubtune.selection.short_tuning import ShortTuning, forget, tune_all
from hubtune.selection.strategies import AUTO, IMAGENET, Strategy, TaskAgnostic, strategy_for
from hubtune.tasks import Task

TIME_SPENT = "the budget's seconds were spent before their turn; the same search with more goes on from there"


def search(
    hub: Hub,
    task: Task,
    strategy: str | Strategy = AUTO,
    *,
    budget: int | str | Budget = 1,
    input_size: int | None = None,
    seed: int = 0,
    proxies: Sequence[str] = (),
    device: str = "cpu",
    engine: Engine | None = None,
    past: str | Path | Sequence[PastRun] = "auto",
    on_event: Listener = silent,
) -> Ranking:
    """Pick models of a hub that are worth fine-tuning on a task.

    Args:
        strategy: a name such as "hybrid-linear", "logme", "successive-halving", "meta-learned", or a strategy of one's own; "auto":
            "hybrid-linear" for classes, "few-steps" for whatever else is predicted.
        budget: models to pick, at least 1 and at most the hub's size; or what the search may spend, as "60s" or "2000 passes"; or both,
            as "2 models, 60s".
        input_size: largest side in pixels: models made for larger images see them at this size, the others at their own; None is no limit.
        seed: of whatever the strategy and its proxies draw.
        proxies: further proxies to score for the record; they do not change the picks.
        device: where the forward passes run.
        engine: who scores the models, each a job; None is this process, which scores one model while it runs the next.
        past: the runs from which accuracies are predicted: "auto" for those under HUBTUNE_RUNS and those that ship with the package,
            "none", a CSV or parquet file, or the runs themselves. Runs on this very task are left out.
        on_event: told of progress.

    Raises:
        ConfigurationError: a budget that cannot be met.
        UnknownNameError: no such strategy or proxy.
        SearchError: no model of the hub could be scored, or fewer than the budget.
        RunError: the cache cannot be written; what was scored is not lost.
    """
    started = time.monotonic()
    chosen = strategy_for(task, strategy)
    for name in proxies:
        find_proxy(name)
    allowed = Budget.parse(budget)
    plan = _Search(
        hub=hub,
        task=task,
        strategy=chosen,
        picks=allowed.picks(len(hub)),
        as_many_as_in_time=allowed.models is None and allowed.seconds is not None,
        further=tuple(name for name in dict.fromkeys(proxies) if name not in chosen.proxies),
        input_size=input_size,
        seed=seed,
        device=device,
        engine=engine,
        runs=past_runs(past) if isinstance(past, str | Path) else past,
        deadline=None if allowed.seconds is None else time.time() + allowed.seconds,
        on_event=on_event,
    )
    plan.run(allowed.passes)
    return plan.ranking(started)


@dataclass(kw_only=True)
class _Search:
    """One search, and what it has found so far."""

    hub: Hub
    task: Task
    strategy: Strategy
    picks: int
    as_many_as_in_time: bool
    """Whether fewer picks will do, since nobody named their number and the time may be short."""
    further: tuple[str, ...]
    """Proxies that do not decide."""
    input_size: int | None
    seed: int
    device: str
    engine: Engine | None
    runs: Sequence[PastRun]
    deadline: float | None
    on_event: Listener
    found: dict[str, Scored] = field(default_factory=dict)
    """By model; of its last round."""
    order: list[str] = field(default_factory=list)
    """Models that could be scored, best first."""
    forward_passes: int = 0
    late: bool = False
    """Whether the budget's seconds were spent before everything was compared."""
    predictions: Predictions | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def asked(self) -> tuple[str, ...]:
        """All proxies."""
        return (*self.strategy.proxies, *self.further)

    def run(self, passes: int | None) -> None:
        """Score in rounds, rank, and predict."""
        hub = self.hub
        if self.deadline is not None:
            # What the cards recommend comes first, so that it is scored if anything is.
            hub = hub.subset(TaskAgnostic().rank(list(hub), {}, self.picks))
        eliminated: list[str] = []
        rounds = self._rounds(passes)
        for one in rounds:
            if not self._score(hub, one):
                self.notes.append("the budget's seconds were spent before the last comparison; the one before it decides")
                self.late = True
                break
            ranked = self._rank(hub)
            self.order = ranked + eliminated
            self._check_enough()
            left = ranked[: one.keep]
            if one.steps:
                self._forget([name for name in hub.names if name not in left or one is rounds[-1]])
            eliminated = self.order[len(left) :]
            if not left:
                self.notes.append("no model is left for the next comparison; the one before it decides")
                break
            hub = hub.subset(left)
        if self.predictions is None:
            self._predict()

    def _rounds(self, passes: int | None) -> list[Round]:
        everything = [Round(share=1.0, keep=len(self.hub))]
        rounds = self.strategy.rounds(len(self.hub), self.picks) if isinstance(self.strategy, Staged) else everything
        stepped = any(one.steps for one in rounds)
        if self.further and all(one.steps for one in rounds):
            raise ConfigurationError(
                f"proxies {', '.join(self.further)} were asked for beside the strategy {self.strategy.name}, which fine-tunes and computes "
                "none; leave them out, or search by a proxy: strategy='logme'"
            )
        if passes is None or not (self.asked or stepped):
            return rounds
        if stepped:
            raise ConfigurationError(
                f"a budget in forward passes cannot be kept by steps of fine-tuning, which {self.strategy.name} makes; give seconds, or a "
                "strategy without steps, such as logme"
            )
        validation = any("validation" in find_proxy(name).needs for name in self.asked)
        return within(rounds, self.task, len(self.hub), passes, validation)

    def _score(self, hub: Hub, one: Round) -> bool:
        """Score the models that are left. False, with nothing changed, where time ran out and an earlier round has an answer."""
        if one.steps:
            scored = tune_all(self._tuning, hub, one.steps, self.engine, self.on_event)
            for name, now in scored.items():
                now.scores = self.found[name].scores | now.scores if name in self.found else now.scores
            return self._settle(scored, one)
        if not self.asked:
            self.found = dict.fromkeys(hub.names, Scored())
            return True
        scoring = Scoring(
            task=part(self.task, one.share),
            whole=self.task,
            proxies=tuple(self.strategy.proxies),
            further=self.further,
            input_size=self.input_size,
            seed=self.seed,
            device=self.device,
            deadline=self.deadline,
        )
        scored = score_all(scoring, hub, self.on_event) if self.engine is None else score_on(self.engine, scoring, hub, self.on_event)
        return self._settle(scored, one)

    def _settle(self, scored: dict[str, Scored], one: Round) -> bool:
        """Take a round's scores over, unless it is unfinished and an earlier one is not."""
        self.forward_passes += sum(now.forward_passes for now in scored.values())
        for name, now in scored.items():
            now.share = one.share
            now.seconds += self.found[name].seconds if name in self.found else 0.0
        if self.found and any(now.late for now in scored.values()):
            return False
        self.found |= scored
        self.late = any(now.late for now in scored.values())
        return True

    @cached_property
    def _tuning(self) -> ShortTuning:
        """How models are trained in rounds of steps."""
        rounds = tuple(one.steps for one in self._rounds(None) if one.steps)
        return ShortTuning(
            task=self.task, rounds=rounds, input_size=self.input_size, seed=self.seed, device=self.device, deadline=self.deadline
        )

    def _forget(self, names: Sequence[str]) -> None:
        """Delete the trainings of models that do not go on; those that time cut short do, in a search with more of it."""
        for scored in map(self.found.__getitem__, names):
            if scored.checkpoint is not None and not scored.late:
                forget(scored.checkpoint)

    def _rank(self, hub: Hub) -> list[str]:
        usable = [card for card in hub if not self.found[card.name].error]
        if all(scored.error for scored in self.found.values()):
            reasons = "\n  ".join(f"{name}: {scored.error}" for name, scored in self.found.items() if scored.error)
            raise (NotScoredInTime if self.late else SearchError)(f"none of the hub's {len(self.hub)} models could be scored:\n  {reasons}")
        scores = {name: scored.scores for name, scored in self.found.items()}
        if getattr(self.strategy, "predicts", False):
            self._predict()
            if self.predictions is None:
                raise SearchError(f"strategy {self.strategy.name} cannot predict: {self.notes[-1]}")
            accuracies = self.predictions.accuracy
            scores = {name: values | {PREDICTED: accuracies[name]} for name, values in scores.items() if name in accuracies}
        return self.strategy.rank(usable, scores, self.picks, self.seed)

    def _check_enough(self) -> None:
        found = len(self.order)
        if self.as_many_as_in_time and self.late:
            self.picks = min(self.picks, found)
        if found < self.picks:
            few = f"only {found} of the hub's {len(self.hub)} models could be scored, fewer than the budget of {self.picks}"
            raise NotScoredInTime(f"{few}: {TIME_SPENT}") if self.late else SearchError(few)

    def _predict(self) -> None:
        """What past runs let one expect of each model that could be scored; a note says why where they do not tell."""
        if not self.runs:
            self.notes.append("no predicted accuracies: there are no past runs to learn from")
            return
        facts = TaskFacts.of(self.task)
        if facts is None:
            self.notes.append(f"no predicted accuracies: past runs are of classification, and this is a {self.task.kind} task")
            return
        past = cells(self.runs, without=self.task.name, images=self.task.fingerprint)
        usable = [card for card in self.hub if card.name in self.found and not self.found[card.name].error]
        # A score on fewer images than the others' compares with none of them.
        share = max((self.found[card.name].share for card in usable), default=1.0)
        scores = {card.name: self.found[card.name].scores if self.found[card.name].share == share else {} for card in usable}
        try:
            self.predictions = predict(past, facts, usable, scores)
        except PredictionError as error:
            self.notes.append(f"no predicted accuracies: {error}")
        else:
            self.notes.append(f"accuracies are predicted from {self.predictions.basis}")
            if share < 1:
                self.notes.append(f"scores are of {share:.0%} of the images, those of past runs of all: the intervals may not hold")

    def ranking(self, started: float) -> Ranking:
        """The answer."""
        failed = sorted(name for name, scored in self.found.items() if scored.error)
        if late := sum(scored.late for scored in self.found.values()):
            self.notes.append(f"{late} of {len(self.hub)} models were not scored: {TIME_SPENT}")
        picks = self.order[: self.picks]
        rows = [self._row(name, rank) for rank, name in enumerate(self.order, 1)] + [self._row(name, None) for name in failed]
        return Ranking(
            picks=self.hub.subset(picks),
            rows=rows,
            seconds=time.monotonic() - started,
            strategy=self.strategy.name,
            budget=self.picks,
            forward_passes=self.forward_passes,
            late=self.late,
            expected_regret=self.predictions.expected_regret(picks) if self.predictions else None,
            notes=tuple(self.notes),
        )

    def _row(self, name: str, rank: int | None) -> dict[str, Any]:
        card, scored, predictions = self.hub[name], self.found[name], self.predictions
        predicted = predictions.accuracy.get(name) if predictions else None
        low, high = predictions.interval.get(name, (None, None)) if predictions else (None, None)
        if getattr(self.strategy, "predicts", False):
            score = predicted
        elif TUNED in scored.scores:
            score = scored.scores[TUNED]
        elif self.strategy.proxies:
            score = scored.scores.get(self.strategy.proxies[0])
        else:
            score = card.upstream_accuracy if card.upstream_dataset == IMAGENET else None
        return {
            "name": name,
            "score": score,
            "scores": scored.scores,
            "share": scored.share,
            "rank": rank,
            "seconds": scored.seconds,
            "error": scored.error,
            "late": scored.late,
            "predicted": predicted,
            "low": low,
            "high": high,
            "card": card.to_dict(),
        }
