"""The search itself: one forward pass per (model, image), then proxies, then the strategy."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from hubtune.engines import Engine
from hubtune.errors import ConfigurationError, HubTuneError, SearchError
from hubtune.features import extract
from hubtune.hub import Hub, ModelCard
from hubtune.proxies import ProxyInputs, evaluate, find_proxy
from hubtune.runs import Event, Listener, cache_folder, silent
from hubtune.selection.strategies import IMAGENET, Strategy, strategy_named
from hubtune.tasks import Task

SCORES_VERSION = 1
"""Raised when a proxy computes something else under the same name."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What a search found."""

    picks: Hub
    """The models to fine-tune, best first."""
    rows: list[dict[str, Any]]
    """One a model, best first: name, score, scores, rank, seconds, error, card. A model that failed comes last, with its reason."""
    seconds: float
    strategy: str
    budget: int
    forward_passes: int
    """Images run through a model, over all models; what the caches knew is not in it."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "budget": self.budget,
            "seconds": self.seconds,
            "forward_passes": self.forward_passes,
            "picks": list(self.picks.names),
            "rows": self.rows,
        }


@dataclass
class _Scored:
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    forward_passes: int = 0


def search(
    hub: Hub,
    task: Task,
    strategy: str | Strategy = "hybrid-linear",
    *,
    budget: int = 1,
    input_size: int | None = None,
    seed: int = 0,
    proxies: Sequence[str] = (),
    device: str = "cpu",
    engine: Engine | None = None,
    on_event: Listener = silent,
) -> Ranking:
    """Pick ``budget`` models of a hub that are worth fine-tuning on a task.

    Args:
        strategy: a name such as "hybrid-linear", "linear", "logme", "task-agnostic", "random", or a strategy of one's own.
        budget: models to pick, at least 1 and at most the hub's size.
        input_size: largest side in pixels: models made for larger images see them at this size, the others at their own; None is no limit.
        seed: of whatever the strategy and its proxies draw.
        proxies: further proxies to score for the record; they do not change the picks.
        device: where the forward passes run.
        engine: who scores the models, each a job; None is this process, which scores one model while it runs the next.
        on_event: told of progress.

    Raises:
        ConfigurationError: a budget that cannot be met.
        UnknownNameError: no such strategy or proxy.
        SearchError: no model of the hub could be scored, or fewer than the budget.
    """
    started = time.monotonic()
    chosen = strategy_named(strategy) if isinstance(strategy, str) else strategy
    for name in proxies:
        find_proxy(name)
    if not 1 <= budget <= len(hub):
        raise ConfigurationError(f"budget {budget} cannot be met: the hub has {len(hub)} models; expected 1 to {len(hub)}")
    wanted = tuple(dict.fromkeys((*chosen.proxies, *proxies)))
    if not wanted:
        found = {card.name: _Scored() for card in hub}
    elif engine is None:
        found = _score_all(hub, task, wanted, input_size, seed, device, on_event)
    else:
        found = _score_on(engine, hub, task, wanted, input_size, seed, device, on_event)
    failed = {name: scored.error for name, scored in found.items() if scored.error}
    if len(failed) == len(hub):
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise SearchError(f"none of the hub's {len(hub)} models could be scored:\n  {reasons}")
    usable = [card for card in hub if card.name not in failed]
    order = chosen.rank(usable, {name: scored.scores for name, scored in found.items()}, budget, seed)
    if len(order) < budget:
        raise SearchError(f"only {len(order)} of the hub's {len(hub)} models could be scored, fewer than the budget of {budget}")
    rows = [_row(hub[name], found[name], rank, chosen) for rank, name in enumerate(order, 1)]
    rows += [_row(hub[name], found[name], None, chosen) for name in sorted(failed)]
    return Ranking(
        picks=hub.subset(order[:budget]),
        rows=rows,
        seconds=time.monotonic() - started,
        strategy=chosen.name,
        budget=budget,
        forward_passes=sum(scored.forward_passes for scored in found.values()),
    )


def _row(card: ModelCard, scored: _Scored, rank: int | None, strategy: Strategy) -> dict[str, Any]:
    if strategy.proxies:
        score = scored.scores.get(strategy.proxies[0])
    else:
        score = card.upstream_accuracy if card.upstream_dataset == IMAGENET else None
    return {
        "name": card.name,
        "score": score,
        "scores": scored.scores,
        "rank": rank,
        "seconds": scored.seconds,
        "error": scored.error,
        "card": card.to_dict(),
    }


def _score_all(
    hub: Hub, task: Task, proxies: tuple[str, ...], input_size, seed: int, device: str, on_event: Listener
) -> dict[str, _Scored]:
    """Scores of every model. The next model runs while the last one is being scored."""
    images = len(task.train) + len(task.val)
    results: dict[str, _Scored] = {}
    pending: dict[str, Future] = {}
    scorer = ThreadPoolExecutor(1)
    try:
        for position, card in enumerate(hub):
            began = time.monotonic()
            scored = results[card.name] = _Scored()
            done = position * images

            def advance(count: int) -> None:
                nonlocal done
                done += count
                on_event(Event("search", done, len(hub) * images, card.name))  # noqa: B023 - called within this turn only

            try:
                _score(hub, card, task, proxies, input_size, seed, device, scored, scorer, pending, advance)
            except HubTuneError as error:
                scored.error = str(error)
                on_event(Event("note", detail=f"left out: {error}"))
            scored.seconds = time.monotonic() - began
            on_event(Event("search", (position + 1) * images, len(hub) * images, card.name))
        for name, future in pending.items():
            try:
                results[name].scores, seconds = future.result()
                results[name].seconds += seconds
            except HubTuneError as error:
                results[name].error = str(error)
    finally:
        scorer.shutdown(wait=False, cancel_futures=True)
    return results


def score_model(name: str, *, hub: Hub, task: Task, proxies: tuple[str, ...], input_size, seed: int, device: str) -> _Scored:
    """One model's scores, whatever else is scored beside it: what a worker of an engine does."""
    return _score_all(hub.subset([name]), task, proxies, input_size, seed, device, silent)[name]


def _score_on(
    engine: Engine, hub: Hub, task: Task, proxies: tuple[str, ...], input_size, seed: int, device: str, on_event: Listener
) -> dict[str, _Scored]:
    """Scores of every model, each with as many threads as this process would use, so that they are the same wherever they are made."""
    images = len(task.train) + len(task.val)
    results: dict[str, _Scored] = {}
    score = partial(score_model, hub=hub, task=task, proxies=proxies, input_size=input_size, seed=seed, device=device)
    for position, scored in engine.do(score, hub.names, threads=torch.get_num_threads()):
        name = hub.names[position]
        results[name] = scored
        if scored.error:
            on_event(Event("note", detail=f"left out: {scored.error}"))
        on_event(Event("search", len(results) * images, len(hub) * images, name))
    return {name: results[name] for name in hub.names}


def _score(hub, card, task, proxies, input_size, seed, device, scored: _Scored, scorer, pending, advance) -> None:
    size = card.size_within(input_size)
    canvas_size = task.canvas_size([size])
    memory = _ScoreMemory(hub.fingerprint(card.name, size), canvas_size, task, seed)
    known = memory.read()
    if all(name in known for name in proxies):
        scored.scores = {name: known[name] for name in proxies}
        return
    backbone = hub.load(card.name, input_size=size)
    train = extract(backbone, task.train, canvas_size, device, on_progress=advance)
    needs_val = any("validation" in find_proxy(name).needs for name in proxies)
    val = extract(backbone, task.val, canvas_size, device, on_progress=advance) if needs_val else None
    scored.forward_passes = train.computed + (val.computed if val else 0)
    inputs = ProxyInputs(
        train_features=train.embeddings,
        train_labels=task.train.targets,
        val_features=val.embeddings if val else None,
        val_labels=task.val.targets if val else None,
        source_probs=None if train.logits is None else torch.softmax(train.logits, 1),
    )

    def work() -> tuple[dict[str, float], float]:
        began = time.monotonic()
        values = dict(known)
        for name in proxies:
            if name not in values:
                values[name] = evaluate(name, inputs, seed)
        memory.write(values)
        return {name: values[name] for name in proxies}, time.monotonic() - began

    pending[card.name] = scorer.submit(work)


class _ScoreMemory:
    """Scores of one model on one task: small enough for a JSON file each."""

    def __init__(self, fingerprint: str, canvas_size: int | None, task: Task, seed: int):
        key = json.dumps([SCORES_VERSION, fingerprint, canvas_size, task.fingerprint, seed])
        self._path = cache_folder() / "scores" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def read(self) -> dict[str, float]:
        try:
            content = json.loads(self._path.read_text())
            return {name: float(value) for name, value in content.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write(self, scores: dict[str, float]) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(scores))
        os.replace(temporary, self._path)
