"""What one model is worth on one task: features, then proxies; known scores are read, not computed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from hubtune.engines import Engine
from hubtune.errors import ConfigurationError, HubTuneError, RunError, SearchError, of_model
from hubtune.features import Features, extract, recall
from hubtune.hub import Backbone, Hub, ModelCard
from hubtune.proxies import ProxyInputs, evaluate, find_proxy
from hubtune.runs import Event, Listener, silent
from hubtune.selection.memory import Memory
from hubtune.tasks import Split, Task


class NotScoredInTime(SearchError):
    """The budget's seconds are spent."""


@dataclass
class Scored:
    """One model's scores, or the reason it has none."""

    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    late: bool = False
    """Whether the error is that time was up."""
    forward_passes: int = 0
    """Images run through the model; those a cache knew are not counted."""
    share: float = 1.0
    """Of the task's images, that the scores were measured on."""
    checkpoint: Path | None = None
    """Of a training that may go on in a later round."""
    notes: list[str] = field(default_factory=list)
    """Proxies beside those of the strategy that this model has no score of, and why."""

    def fail(self, error: HubTuneError) -> None:
        """Note why there are no scores.

        Raises:
            RunError: it is one: a cache that cannot be written is no fault of the model's.
        """
        if isinstance(error, RunError):
            raise error
        self.error = str(error)
        self.late = isinstance(error, NotScoredInTime)

    def tell(self, name: str, on_event: Listener) -> None:
        """Tell what went wrong with the model of this name, and the notes. That time was up is told once, not for every model."""
        if self.error and not self.late:
            on_event(Event("note", detail=f"left out: {name}: {self.error}"))
        for note in self.notes:
            on_event(Event("note", detail=note))


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Everything that scores depend on besides the model, and how they are computed."""

    task: Task
    """With the images to look at and no others."""
    whole: Task
    """The task that these images are from: it decides the canvas, so that a part of a task shares the features of the whole."""
    proxies: tuple[str, ...]
    """Without one of these a model has no place in the ranking."""
    further: tuple[str, ...] = ()
    """Scored for the record, where a model allows it."""
    input_size: int | None = None
    """Largest side in pixels that a model sees; None is no limit."""
    seed: int = 0
    device: str = "cpu"
    deadline: float | None = None
    """``time.time()``, which machines share, after which no batch is begun."""

    def __post_init__(self) -> None:
        if self.task.labels(self.task.train).is_floating_point():
            wrong = [name for name in self.asked if not find_proxy(name).numbers]
            if wrong:
                raise ConfigurationError(
                    f"the proxies {', '.join(wrong)} were asked for a task of kind {self.task.kind!r}; expected classes to predict: search "
                    "with the strategy few-steps, logme, task-agnostic or random, or name the models"
                )

    @property
    def asked(self) -> tuple[str, ...]:
        """All proxies."""
        return (*self.proxies, *self.further)

    @property
    def splits(self) -> list[Split]:
        """Those that the proxies read."""
        needs = {need for name in self.asked for need in find_proxy(name).needs}
        return [self.task.train, self.task.val] if "validation" in needs else [self.task.train]

    def look(self, hub: Hub, card: ModelCard, scored: Scored, on_images: Callable[[int], None]) -> Callable[[], None] | None:
        """Run what must be run of one model through it.

        Returns:
            What remains to be done, without the model: it fills in the scores. None where they were known.
        """
        began = time.monotonic()
        size = card.size_within(self.input_size)
        canvas_size = self.whole.canvas_size([size])
        fingerprint = hub.fingerprint(card.name, size)
        memory = Memory(fingerprint, canvas_size, self.task, self.seed)
        known = memory.read()
        if all(name in known for name in self.asked):
            scored.scores = {name: known[name] for name in self.asked}
            return None
        model = _Model(hub, card.name, size, fingerprint)
        features = [model.features(split, canvas_size, self.device, self._in_time(on_images)) for split in self.splits]
        scored.forward_passes = sum(part.computed for part in features)
        scored.seconds += time.monotonic() - began
        inputs = _inputs(self.task, features)

        def rest() -> None:
            began = time.monotonic()
            values = dict(known)
            try:
                for name in self.asked:
                    if name not in values:
                        try:
                            values[name] = evaluate(name, inputs, self.seed)
                        except HubTuneError as error:
                            if name in self.proxies:
                                raise
                            scored.notes.append(f"{card.name}: no score by {name}: {error}")
            finally:
                memory.add(values)
            scored.scores = {name: values[name] for name in self.asked if name in values}
            scored.seconds += time.monotonic() - began

        return rest

    def _in_time(self, on_images: Callable[[int], None]) -> Callable[[int], None]:
        def advance(count: int) -> None:
            on_images(count)
            check_time(self.deadline)

        return advance


def check_time(deadline: float | None) -> None:
    """Raises NotScoredInTime after the deadline."""
    if deadline is not None and time.time() > deadline:
        raise NotScoredInTime("not scored: the budget's seconds were spent before its turn; a larger budget goes on from there")


def score_all(scoring: Scoring, hub: Hub, on_event: Listener) -> dict[str, Scored]:
    """Scores of every model of a hub. The next model runs while the last one is being scored, never further ahead than that."""
    images = sum(len(split) for split in scoring.splits)
    results: dict[str, Scored] = {}
    pending: tuple[str, Scored, Future] | None = None
    scorer = ThreadPoolExecutor(1)
    try:
        for position, card in enumerate(hub):
            scored = results[card.name] = Scored()
            tell = _Teller(on_event, position * images, len(hub) * images, card.name)
            try:
                check_time(scoring.deadline)
                rest = scoring.look(hub, card, scored, tell)
                _settle(pending, on_event)
                pending = (card.name, scored, scorer.submit(rest)) if rest else None
            except Exception as error:
                scored.fail(of_model(error))
                scored.tell(card.name, on_event)
            tell.finish((position + 1) * images)
        _settle(pending, on_event)
    finally:
        scorer.shutdown(wait=False, cancel_futures=True)
    return results


def score_model(name: str, *, scoring: Scoring, hub: Hub) -> Scored:
    """One model's scores, whatever else is scored beside it: what a worker of an engine does."""
    return score_all(scoring, hub.subset([name]), silent)[name]


def score_on(engine: Engine, scoring: Scoring, hub: Hub, on_event: Listener) -> dict[str, Scored]:
    """Scores of every model, each with as many threads as this process would use, so that they are the same wherever they are made."""
    images = sum(len(split) for split in scoring.splits)
    results: dict[str, Scored] = {}
    score = partial(score_model, scoring=scoring, hub=hub)
    for position, scored in engine.do(score, hub.names, threads=torch.get_num_threads()):
        name = hub.names[position]
        results[name] = scored
        scored.tell(name, on_event)
        on_event(Event("search", len(results) * images, len(hub) * images, name))
    return {name: results[name] for name in hub.names}


def _settle(pending: tuple[str, Scored, Future] | None, on_event: Listener) -> None:
    """Wait for the scores of the model before."""
    if pending is not None:
        name, scored, future = pending
        try:
            future.result()
        except Exception as error:
            scored.fail(of_model(error))
        scored.tell(name, on_event)


@dataclass
class _Teller:
    """Turns images done into events."""

    listener: Listener
    done: float
    total: float
    model: str

    def __call__(self, images: int) -> None:
        self.finish(self.done + images)

    def finish(self, done: float) -> None:
        self.done = done
        self.listener(Event("search", done, self.total, self.model))


@dataclass
class _Model:
    """A model that is loaded when an image first needs it: corrected labels then load nothing."""

    hub: Hub
    name: str
    size: int
    fingerprint: str
    _backbone: Backbone | None = None

    def features(self, split: Split, canvas_size: int | None, device: str, on_images: Callable[[int], None]) -> Features:
        if self._backbone is None:
            known = recall(self.fingerprint, split, canvas_size)
            if known is not None:
                on_images(len(split))
                return known
            self._backbone = self.hub.load(self.name, input_size=self.size)
        return extract(self._backbone, split, canvas_size, device, on_progress=on_images)


def _inputs(task: Task, features: Sequence[Features]) -> ProxyInputs:
    train, *val = features
    return ProxyInputs(
        train_features=train.embeddings,
        train_labels=task.labels(task.train),
        val_features=val[0].embeddings if val else None,
        val_labels=task.labels(task.val) if val else None,
        source_probs=None if train.logits is None else torch.softmax(train.logits, 1),
    )
