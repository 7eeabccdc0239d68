"""From methods to cells, and from cells to results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hubtune.errors import ConfigurationError, HubTuneError, ModelError, TrainingError
from hubtune.hub import Hub
from hubtune.tasks import Task
from hubtune.training.cells import Unfinished, Work
from hubtune.training.loop import OutOfTime
from hubtune.training.method import Cell, Method, Need, Result
from hubtune.transfer.transfer_method import TransferMethod
from hubtune.workflow.methods import method_named
from hubtune.workflow.running import CellRunner


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A method on some models, of whose variants the best by validation is wanted."""

    method: Method
    models: tuple[str, ...]

    @classmethod
    def of(cls, need: Need) -> "Wanted":
        return cls(method=method_named(need.method, need.config), models=need.models)

    @property
    def key(self) -> str:
        """Equal for what is equally configured."""
        return json.dumps([type(self.method).__qualname__, self.method.config(), self.models], sort_keys=True)


def every_training(wanted: Sequence[Wanted], task: Task) -> list[Wanted]:
    """All variants of what is wanted and of what it is built on, each once, in an order in which they could be done."""
    found: dict[str, Wanted] = {}
    for want in wanted:
        for variant in want.method.variants(task):
            needs = [Wanted.of(need) for need in variant.needs(want.models, task)]
            training = Wanted(method=variant, models=want.models)
            found |= {each.key: each for each in (*every_training(needs, task), training)}
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of something wanted."""

    result: Result | None
    """The best variant's; None where none ended well."""
    errors: dict[str, HubTuneError] = field(default_factory=dict)
    """Why variants failed, by a name of the training; models that were done without are among them."""

    @property
    def unfinished(self) -> list[Result]:
        """Trainings that the time limit cut short after an evaluation."""
        return [error.result for error in self.errors.values() if isinstance(error, Unfinished) and error.result]

    @property
    def out_of_time(self) -> bool:
        return bool(self.errors) and all(isinstance(error, OutOfTime) for error in self.errors.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Turns methods into cells, and cells into results."""

    hub: Hub
    task: Task
    seed: int
    input_size: int | None
    precision: str
    runner: CellRunner

    def do(self, wanted: Sequence[Wanted]) -> list[Outcome]:
        """The outcome of each. What they are built on is done first; all cells of one level go to the engine together."""
        errors: list[dict[str, HubTuneError]] = [{} for _ in wanted]
        variants = [
            (i, variant) for i, want in enumerate(wanted) if self._accepted(want, errors[i]) for variant in want.method.variants(self.task)
        ]
        needs = {id(variant): variant.needs(wanted[i].models, self.task) for i, variant in variants}
        done = self._needed([need for found in needs.values() for need in found])
        cells: list[tuple[int, Cell, list[Result]]] = []
        for i, variant in variants:
            try:
                results = self._results(needs[id(variant)], done, errors[i])
                cells.append((i, self._cell(variant, wanted[i].models, results), results))
            except HubTuneError as error:
                errors[i]["+".join(wanted[i].models)] = error
        outcomes = self.runner.run([(cell, results) for _, cell, results in cells], self.hub, self.task) if cells else {}
        best: dict[int, Result] = {}
        for i, cell, _ in cells:
            outcome = outcomes[cell.id]
            if isinstance(outcome, Result) and not outcome.record.get("error"):
                if i not in best or self.score(outcome) > self.score(best[i]):
                    best[i] = outcome
            else:
                difference = _difference(cell.method, wanted[i].method)
                label = "+".join(cell.models) + (f" {json.dumps(difference)}" if difference else "")
                errors[i][label] = TrainingError(outcome.record["error"]) if isinstance(outcome, Result) else outcome
        return [Outcome(result=best.get(i), errors=errors[i]) for i in range(len(wanted))]

    def _accepted(self, wanted: Wanted, errors: dict[str, HubTuneError]) -> bool:
        """Whether a method takes these models; why it does not is noted."""
        try:
            wanted.method.check(self.hub.subset(list(wanted.models)), self.task)
            self._check_saved(wanted)
        except HubTuneError as error:
            errors["+".join(wanted.models)] = error
        return not errors

    def _check_saved(self, wanted: Wanted) -> None:
        """Refuse networks of one's own where they would be part of what is handed over: they cannot be written.

        Raises:
            ConfigurationError: there is one.
        """
        for name in handed_over(wanted, self.task):
            if self.hub[name].sha256 is None:  # known weight files belong to networks with a description
                backbone = self.hub.load(name, self.hub[name].size_within(self.input_size))
                try:
                    backbone.spec()
                except ModelError as error:
                    raise ConfigurationError(str(error)) from error

    def known(self, wanted: Wanted) -> Result | None:
        """The best variant of something that is built on nothing else, where all are finished already; nothing is trained."""
        cells = [self._cell(variant, wanted.models, []) for variant in wanted.method.variants(self.task)]
        work = Work(root=self.runner.root, runtime=self.runner.runtime)
        results = [result for cell in cells if (result := work.finished(cell))]
        well = [result for result in results if not result.record.get("error")]
        return max(well, key=self.score) if well and len(results) == len(cells) else None

    def score(self, result: Result) -> float:
        """Of the validation split; higher is better."""
        return result.metrics[f"val_{self.task.metric}"]

    def _needed(self, needs: Sequence[Need]) -> dict[str, Outcome]:
        """Outcomes by key; what several methods need is done once."""
        distinct = {want.key: want for want in map(Wanted.of, needs)}
        return dict(zip(distinct, self.do(list(distinct.values())), strict=True)) if distinct else {}

    def _results(self, needs: Sequence[Need], done: dict[str, Outcome], errors: dict[str, HubTuneError]) -> list[Result]:
        """What a method is built on; why it does without some of it is noted.

        Raises:
            TrainingError: it cannot do without.
        """
        results = []
        for need in needs:
            outcome = done[Wanted.of(need).key]
            if outcome.result is not None:
                results.append(outcome.result)
            elif not need.optional or outcome.out_of_time:
                raise nothing_finished(outcome.errors)
            else:
                errors.update(outcome.errors)
        return results

    def _cell(self, method: Method, models: tuple[str, ...], needed: list[Result]) -> Cell:
        return Cell(
            method=method,
            models=tuple(models),
            fingerprints=tuple(self.hub.fingerprint(name, self.hub[name].size_within(self.input_size)) for name in models),
            input_size=self.input_size,
            task=self.task.fingerprint,
            seed=self.seed,
            precision=self.precision,
            needs=tuple(result.cell for result in needed),
        )


def handed_over(wanted: Wanted, task: Task) -> tuple[str, ...]:
    """The models that are sure to be part of what a method hands over, itself or changed.

    Sources of a fresh target are not, nor teachers; what is built on other trainings holds their networks, which are asked for too.
    """
    method, models = wanted.method, wanted.models
    if isinstance(method, TransferMethod) or method.needs(models, task):
        return ()
    taught = (getattr(method, "student", None),) if hasattr(method, "student") else models
    return tuple(name for name in models if name in taught)


def nothing_finished(errors: dict[str, HubTuneError]) -> HubTuneError:
    """The error of a training of which no variant ended well."""
    if errors and all(isinstance(error, OutOfTime) for error in errors.values()):
        return OutOfTime("the time limit came before any training was finished; the same command with more time goes on from there")
    reasons = "\n  ".join(f"{name}: {error}" for name, error in errors.items())
    if errors and all(isinstance(error, ConfigurationError) for error in errors.values()):
        return ConfigurationError(f"nothing can be trained:\n  {reasons}")
    return TrainingError(f"no training ended well:\n  {reasons}")


def _difference(variant: Method, method: Method) -> dict[str, Any]:
    """The fields in which a variant differs from its method."""
    own, common = variant.config(), method.config()
    return {name: value for name, value in own.items() if common.get(name) != value}
