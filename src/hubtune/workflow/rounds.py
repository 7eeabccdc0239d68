"""All methods of a comparison with one seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hubtune.errors import HubTuneError
from hubtune.hub import Hub
from hubtune.pathway.analysis import Rights, read_rights
from hubtune.tasks import Task
from hubtune.training.method import Cell, Method, Result
from hubtune.workflow.planning import Outcome, Plan, Wanted
from hubtune.workflow.running import CellRunner


@dataclass(frozen=True, kw_only=True)
class Watched(CellRunner):
    """Remembers every cell that it was asked for, finished before or now."""

    seen: dict[str, Result] = field(default_factory=dict)

    def run(self, cells: Sequence[tuple[Cell, list[Result]]], hub: Hub, task: Task) -> dict[str, Result | HubTuneError]:
        outcomes = super().run(cells, hub, task)
        self.seen.update({id: outcome for id, outcome in outcomes.items() if isinstance(outcome, Result)})
        return outcomes


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one method did with one seed."""

    result: Result | None
    """The best by validation."""
    singles: tuple[Result, ...] = ()
    """Of a method of one model: the best training of each model."""
    trained: tuple[Result, ...] = ()
    """Everything that had to be trained for it, whether or not another method needed it too."""
    error: str | None = None
    """Why there is no result."""
    left_out: tuple[str, ...] = ()
    """Trainings that failed, where there is a result without them."""

    @property
    def seconds(self) -> float:
        return sum(result.record["seconds"] for result in self.trained)


@dataclass(frozen=True, kw_only=True)
class Round:
    """All methods with one seed."""

    seed: int
    task: Task
    entries: dict[str, Entry]
    alone: tuple[Result, ...]
    """One training of each model of the hub alone, the best variant; empty where the comparison holds none."""
    alone_seconds: float = 0.0
    """Of all their variants."""

    @classmethod
    def play(cls, contest: Mapping[str, Method], plan: Plan, runner: Watched) -> "Round":
        """Do every method; all that can be done side by side goes to the engine together."""
        names = plan.hub.names
        wanted = {
            label: [Wanted(method=method, models=models) for models in ([names] if method.takes_many else [(name,) for name in names])]
            for label, method in contest.items()
        }
        outcomes = iter(plan.do([want for each in wanted.values() for want in each]))
        entries = {}
        for label, each in wanted.items():
            entries[label] = _entry([next(outcomes) for _ in each], contest[label], plan, _trained(each, plan, runner.seen))
        alone, trained = _alone(contest, entries, plan, runner.seen)
        seconds = sum(result.record["seconds"] for result in trained)
        return cls(seed=plan.seed, task=plan.task, entries=entries, alone=alone, alone_seconds=seconds)

    @cached_property
    def rights(self) -> Rights | None:
        """Which images each model alone gets right, where the task has right answers."""
        if self.task.kind != "classification" or not self.alone:
            return None
        return read_rights([result.folder for result in self.alone], self.task)

    def warnings(self) -> Iterator[str]:
        """What the methods that ended well warn of."""
        for label, entry in self.entries.items():
            if entry.result is not None:
                found = entry.result.record.get("summary", {}).get("warnings", ())
                yield from (f"{label}, seed {self.seed}: {warning}" for warning in (*found, *entry.left_out))


def missing_seeds(rounds: Sequence[Round]) -> Iterator[str]:
    """Seeds with which a method has no result, where it has one with another; the row of one that has none says so itself."""
    for label in rounds[0].entries:
        entries = [(played.seed, played.entries[label]) for played in rounds]
        if any(entry.result for _, entry in entries):
            yield from (f"{label}, seed {seed}: left out of the means: {entry.error}" for seed, entry in entries if entry.result is None)


def _entry(outcomes: Sequence[Outcome], method: Method, plan: Plan, trained: Mapping[str, Result]) -> Entry:
    results = [outcome.result for outcome in outcomes if outcome.result]
    errors = {name: str(error) for outcome in outcomes for name, error in outcome.errors.items()}
    if not results:
        return Entry(result=None, trained=tuple(trained.values()), error=_one_text(errors))
    return Entry(
        result=max(results, key=plan.score),
        singles=() if method.takes_many else tuple(results),
        trained=tuple(trained.values()),
        left_out=tuple(f"{name}: {error}" for name, error in errors.items()),
    )


def _one_text(errors: Mapping[str, str]) -> str:
    """All errors, each once, with the names of those that ended in it where not all of them did."""
    names: dict[str, list[str]] = {}
    for name, error in errors.items():
        names.setdefault(error, []).append(name)
    return "; ".join(f"{', '.join(those)}: {error}" if len(names) > 1 else error for error, those in names.items())


def _trained(wanted: Sequence[Wanted], plan: Plan, seen: Mapping[str, Result]) -> dict[str, Result]:
    """The cells behind what is wanted, those that it is built on included, by cell id."""
    found: dict[str, Result] = {}
    for want in wanted:
        for variant in want.method.variants(plan.task):
            own = (r for r in seen.values() if (r.cell.method, r.cell.models, r.cell.seed) == (variant, want.models, plan.seed))
            found |= {result.cell.id: result for result in own}
            found |= _trained([Wanted.of(need) for need in variant.needs(want.models, plan.task)], plan, seen)
    return found


def _alone(
    contest: Mapping[str, Method], entries: Mapping[str, Entry], plan: Plan, seen: Mapping[str, Result]
) -> tuple[tuple[Result, ...], Sequence[Result]]:
    """The best training of each model alone, and all that was trained for it.

    Fine-tune's, else what a method is built on, else any method's; empty where there is none.
    """

    def candidates() -> Iterator[tuple[Sequence[Result], Sequence[Result]]]:
        ordered = sorted(contest, key=lambda label: contest[label].name != "fine-tune")
        own = [(entries[label].singles, entries[label].trained) for label in ordered]
        yield from own[: sum(method.name == "fine-tune" for method in contest.values())]
        for method in contest.values():
            needs = [need for need in method.variants(plan.task)[0].needs(plan.hub.names, plan.task) if len(need.models) == 1]
            if [need.models for need in needs] == [(name,) for name in plan.hub.names]:
                wanted = [Wanted.of(need) for need in needs]
                trained = [_trained([want], plan, seen).values() for want in wanted]
                well = [[result for result in each if not result.record.get("error")] for each in trained]
                yield [max(each, key=plan.score) for each in well if each], [result for each in trained for result in each]
        yield from own

    return next(((tuple(found), trained) for found, trained in candidates() if len(found) == len(plan.hub)), ((), ()))
