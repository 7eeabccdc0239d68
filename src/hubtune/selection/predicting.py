"""What accuracy to expect of a fine-tuning, and how surely: learnt from past runs, calibrated on tasks that were left out.

Accuracies are compared as log-odds, y = log(a / (1 - a)). A model m on a task t is described by a row of numbers

- for each proxy that is itself an accuracy: the log-odds of the pool's best on t, and how far below it m is;
- for each other proxy: its score less the pool's mean on t, in standard deviations of the pool, since such scores have no unit that tasks
  share;
- what is known of t: log-odds of chance -log(C - 1), log of its training images;
- what is known of m: log of its parameters and operations;
- how m did before: its mean of y less the task's mean over its past tasks (never t itself), shrunk towards 0 as n / (n + 1).

Ridge regression predicts y; every task weighs the same, whatever the number of its models. The penalty is the one that errs least on
tasks left out. Unknown values stand at the mean.

Intervals are CV+ over tasks: with f_-k fitted without task k and R_i = |y_i - f_-k(i)(x_i)|, the interval of level 1 - α spans from the
lower quantile of f_-k(i)(x) - R_i to the upper quantile of f_-k(i)(x) + R_i over all n cells i, of rank ⌈(1 - α)(n + 1)⌉. Whole tasks are
left out since the next task is a new one; tasks of one name count as one.

Source: Barber et al. (2021), "Predictive inference with the jackknife+", section 3 (CV+); for groups left out whole, Dunn et al. (2022),
"Distribution-free prediction sets for two-layer hierarchical models".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hubtune.errors import SearchError
from hubtune.hub import ModelCard
from hubtune.proxies import PROXIES
from hubtune.selection.past_runs import PastRun
from hubtune.tasks import Task

NOMINAL = 0.9
"""Of the intervals."""
LEAST_TASKS = 3
"""Past tasks below which nothing can be calibrated: one is left out for calibration, another for the penalty."""
LEAST_CELLS = 10
"""Past cells below which no interval of the nominal level is finite."""
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of ridge regression on standardised columns."""
NEAREST = 0.005
"""Accuracies nearer to 0 or 1 than this count as this far away: log-odds have no end."""

Matrix = np.ndarray
Scores = Mapping[str, Mapping[str, float]]


class PredictionError(SearchError):
    """Past runs do not allow a prediction."""


def log_odds(accuracy):
    """log(a / (1 - a)), with a kept away from 0 and 1."""
    kept = np.clip(accuracy, NEAREST, 1 - NEAREST)
    return np.log(kept / (1 - kept))


def accuracy_of(odds):
    """The accuracy of log-odds."""
    return 1 / (1 + np.exp(-odds))


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What is known of a task before anything runs."""

    classes: int | None
    train: int | None
    """Training images."""

    @classmethod
    def of(cls, task: Task) -> "TaskFacts | None":
        """None for a task whose outcome is no accuracy."""
        if task.metric != "accuracy":
            return None
        return cls(classes=getattr(task, "num_classes", None), train=len(task.train))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Fine-tuned test accuracy of some models on one task, as past runs let one expect it."""

    accuracy: Mapping[str, float]
    """By model, in [0, 1]."""
    interval: Mapping[str, tuple[float, float]]
    """By model: the ends of the interval of level NOMINAL."""
    basis: str
    """What they rest on, in words."""
    comparable: bool
    """Whether all models were predicted from the same kind of knowledge, so that one expects their regret."""
    deviations: np.ndarray
    """What the calibration cells had beyond their prediction and their task's mean error, in log-odds."""
    shifts: np.ndarray
    """Mean errors of the calibration tasks, in log-odds."""

    def expected_regret(self, picks: Sequence[str]) -> float | None:
        """E[max over all models - max over the picks] of accuracy; None where models are not comparable.

        Errors of models on one task are independent draws of the calibration's, after a shift that all models share; so the maximum of
        n models is below y with probability Π_m F(y - f_m), and regret, being a difference of two expectations, needs no more than that.
        """
        if not self.comparable or not all(name in self.accuracy for name in picks):
            return None
        odds = log_odds(np.array(list(self.accuracy.values())))
        picked = log_odds(np.array([self.accuracy[name] for name in picks]))
        grid = np.linspace(picked.min() + self.deviations.min(), odds.max() + self.deviations.max(), 400)
        return max(0.0, self._expected_best(odds, grid) - self._expected_best(picked, grid))

    def _expected_best(self, odds: np.ndarray, grid: np.ndarray) -> float:
        """Of the accuracy of the best of some models."""
        # Thousands of models fall into a few hundred bins.
        values, counts = np.unique(np.round(odds, 2), return_counts=True)
        below = np.searchsorted(np.sort(self.deviations), grid[:, None] - values, side="right") / len(self.deviations)
        with np.errstate(divide="ignore"):
            distribution = np.exp(np.log(below) @ counts)
        mass = np.diff(distribution, prepend=0.0)
        mass[-1] += 1 - distribution[-1]
        return float(np.mean([mass @ accuracy_of(grid + shift) for shift in self.shifts]))


def predict(past: Sequence[PastRun], task: TaskFacts, cards: Sequence[ModelCard], scores: Scores) -> Predictions:
    """Accuracies to expect of the models on a task.

    Args:
        past: cells of other tasks.
        task: the new one.
        cards: of the models.
        scores: by model and proxy, on all images of the task; models without any are predicted from their cards and past alone.

    Raises:
        PredictionError: too few past cells, for any choice of what to read.
    """
    scored = [card for card in cards if scores.get(card.name)]
    unscored = [card for card in cards if not scores.get(card.name)]
    known = [proxy for proxy in PROXIES if scored and all(proxy in scores[card.name] for card in scored)]
    accuracy, interval = {}, {}
    predictors = []
    for group, proxies in ((scored, known), (unscored, [])):
        if group:
            predictor = _Predictor.fit(past, proxies)
            predictors.append(predictor)
            expected, low, high = predictor(task, group, scores)
            accuracy |= dict(zip((card.name for card in group), expected.tolist(), strict=True))
            interval |= dict(zip((card.name for card in group), zip(low.tolist(), high.tolist(), strict=True), strict=True))
    if not predictors:
        raise PredictionError("no model could be scored")
    main = predictors[0]
    return Predictions(
        accuracy=accuracy,
        interval=interval,
        basis=main.basis,
        comparable=len(predictors) == 1,
        deviations=main.deviations,
        shifts=main.shifts,
    )


@dataclass(frozen=True)
class _Group:
    """The cells of one past task."""

    task: str
    """Its name."""
    models: list[str]
    columns: Matrix
    """(n, p), without the models' own past."""
    odds: np.ndarray
    """(n,) of their accuracies."""


@dataclass(frozen=True, kw_only=True)
class _Predictor:
    """Ridge regressions: one on all past tasks, and one without each."""

    proxies: Sequence[str]
    groups: Sequence[_Group]
    penalty: float
    deviations: np.ndarray
    shifts: np.ndarray
    residuals: Mapping[str, np.ndarray]
    """By the past task that was left out: |y - f|."""

    @property
    def basis(self) -> str:
        cells = sum(len(group.models) for group in self.groups)
        models = len({model for group in self.groups for model in group.models})
        read = ", ".join([*self.proxies, "the cards"])
        return f"{cells} past fine-tunings of {models} models on {len(self.residuals)} tasks, by {read}"

    @classmethod
    def fit(cls, past: Sequence[PastRun], proxies: Sequence[str]) -> "_Predictor":
        """The predictor that reads as many of the proxies as past runs know."""
        for read in _choices(past, proxies):
            groups = _grouped(past, read)
            if len({group.task for group in groups}) >= LEAST_TASKS and sum(len(group.models) for group in groups) >= LEAST_CELLS:
                break
        else:
            cells, tasks = len(past), len({cell.task for cell in past})
            raise PredictionError(
                f"past runs hold {cells} fine-tunings on {tasks} other tasks; expected at least {LEAST_CELLS} on {LEAST_TASKS}: "
                "fine-tune more, or name a table of past runs"
            )
        errors = {penalty: _left_out(groups, penalty) for penalty in PENALTIES}
        penalty = min(PENALTIES, key=lambda penalty: np.mean([np.abs(error).mean() for error in errors[penalty].values()]))
        residuals = errors[penalty]
        shifts = {task: error.mean() for task, error in residuals.items()}
        return cls(
            proxies=read,
            groups=groups,
            penalty=penalty,
            deviations=np.concatenate([error - shifts[task] for task, error in residuals.items()]),
            shifts=np.array(list(shifts.values())),
            residuals={task: np.abs(error) for task, error in residuals.items()},
        )

    def __call__(self, task: TaskFacts, cards: Sequence[ModelCard], scores: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected accuracy, lower and upper end of the interval, each (n,)."""
        models = [card.name for card in cards]
        columns = _columns(
            self.proxies,
            {proxy: np.array([scores[name][proxy] for name in models]) for proxy in self.proxies},
            {field: np.array([getattr(card, field) or math.nan for card in cards], dtype=float) for field in _CARD},
            task.classes,
            task.train,
        )
        centre = _regression(self.groups, self.penalty)(models, columns)
        left_out = [_regression(_others(self.groups, task), self.penalty)(models, columns) for task in self.residuals]
        errors = np.concatenate(list(self.residuals.values()))
        which = np.repeat(np.arange(len(left_out)), [len(error) for error in self.residuals.values()])
        low, high = _ends(np.stack(left_out), errors, which)
        # Where the regressions without one task disagree, the one with all need not lie between their ends.
        return accuracy_of(centre), accuracy_of(np.minimum(low, centre)), accuracy_of(np.maximum(high, centre))


_CARD = ("params", "flops")


def _choices(past: Sequence[PastRun], proxies: Sequence[str]) -> list[list[str]]:
    """What to read, the most telling first: all proxies that past runs know, then each alone, then none."""
    known = [proxy for proxy in proxies if any(proxy in cell.scores for cell in past)]
    alone = sorted(known, key=lambda proxy: -sum(proxy in cell.scores for cell in past))
    return [known, *([proxy] for proxy in alone), []]


def _grouped(past: Sequence[PastRun], proxies: Sequence[str]) -> list[_Group]:
    """Tasks with the cells that know all of the proxies."""
    members: dict[tuple[str, str], list[PastRun]] = {}
    for cell in past:
        if all(proxy in cell.scores for proxy in proxies):
            members.setdefault((cell.task, cell.images), []).append(cell)
    return [
        _Group(
            task=task,
            models=[cell.model for cell in cells],
            columns=_columns(
                proxies,
                {proxy: np.array([cell.scores[proxy] for cell in cells]) for proxy in proxies},
                {field: np.array([float(cell.card.get(field) or math.nan) for cell in cells]) for field in _CARD},
                cells[0].classes,
                cells[0].train,
            ),
            odds=log_odds(np.array([cell.accuracy for cell in cells])),
        )
        for (task, _), cells in members.items()
    ]


def _others(groups: Sequence[_Group], task: str) -> list[_Group]:
    return [group for group in groups if group.task != task]


def _columns(
    proxies: Sequence[str], scores: Mapping[str, np.ndarray], card: Mapping[str, np.ndarray], classes: int | None, train: int | None
) -> Matrix:
    """What describes the n models of one pool on one task: (n, p), NaN where unknown."""
    size = len(next(iter(card.values())))
    columns = []
    for proxy in proxies:
        values = scores[proxy]
        if PROXIES[proxy].range == (0.0, 1.0):
            odds = log_odds(values)
            columns += [np.full(size, odds.max()), odds - odds.max()]
        else:
            spread = values.std()
            columns.append((values - values.mean()) / spread if spread > 0 else np.zeros(size))
    columns += [np.log10(card[field]) for field in _CARD]
    columns.append(np.full(size, -math.log(classes - 1) if classes and classes > 1 else math.nan))
    columns.append(np.full(size, math.log(train) if train else math.nan))
    return np.stack(columns, axis=1)


class _Past:
    """How models did on past tasks: their mean of y less the task's mean, shrunk as n / (n + 1)."""

    def __init__(self, groups: Sequence[_Group]):
        self._leads: dict[str, list[tuple[str, float]]] = {}
        for group in groups:
            for model, lead in zip(group.models, group.odds - group.odds.mean(), strict=True):
                self._leads.setdefault(model, []).append((group.task, lead))

    def of(self, models: Sequence[str], without: str | None = None) -> np.ndarray:
        """(n,) for some models; the task ``without`` counts as not known."""
        values = np.zeros(len(models))
        for row in [row for row, model in enumerate(models) if model in self._leads]:
            known = [lead for task, lead in self._leads[models[row]] if task != without]
            values[row] = sum(known) / (len(known) + 1)
        return values


def _regression(groups: Sequence[_Group], penalty: float) -> Callable[[Sequence[str], Matrix], np.ndarray]:
    """f: from models and columns to log-odds.

    Minimises Σ_i w_i (y_i - z_i b - c)² + penalty |b|² over b and c, with standardised columns z and weights w that are equal over tasks
    and sum to the number of cells.
    """
    past = _Past(groups)
    columns = np.concatenate([np.column_stack([group.columns, past.of(group.models, group.task)]) for group in groups])
    odds = np.concatenate([group.odds for group in groups])
    weights = np.concatenate([np.full(len(group.odds), len(odds) / len(groups) / len(group.odds)) for group in groups])
    known = ~np.isnan(columns)
    filled = np.where(known, columns, 0.0)
    totals = np.maximum(known.sum(0), 1)
    centre = filled.sum(0) / totals
    spread = np.sqrt((np.where(known, columns - centre, 0.0) ** 2).sum(0) / totals)
    spread[spread < 1e-9] = np.inf

    def standard(rows: Matrix) -> Matrix:
        return np.where(np.isnan(rows), 0.0, rows - centre) / spread

    z = standard(columns)
    mean_z, mean_y = weights @ z / weights.sum(), weights @ odds / weights.sum()
    weighted = (z - mean_z) * weights[:, None]
    slopes = np.linalg.solve(weighted.T @ (z - mean_z) + penalty * np.eye(z.shape[1]), weighted.T @ (odds - mean_y))

    def answer(models: Sequence[str], columns: Matrix) -> np.ndarray:
        return (standard(np.column_stack([columns, past.of(models)])) - mean_z) @ slopes + mean_y

    return answer


def _left_out(groups: Sequence[_Group], penalty: float) -> dict[str, np.ndarray]:
    """By task, y - f of its cells, f fitted on the other tasks."""
    errors: dict[str, list[np.ndarray]] = {}
    fitted = {task: _regression(_others(groups, task), penalty) for task in dict.fromkeys(group.task for group in groups)}
    for group in groups:
        errors.setdefault(group.task, []).append(group.odds - fitted[group.task](group.models, group.columns))
    return {task: np.concatenate(parts) for task, parts in errors.items()}


def _ends(answers: Matrix, errors: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the CV+ interval of each model.

    Args:
        answers: (T, n) of the regressions without one of T tasks.
        errors: (N,) absolute, of the calibration cells.
        which: (N,) the regression that a cell was left out of.
    """
    total = len(errors)
    rank = min(total, math.ceil(NOMINAL * (total + 1)))
    low, high = np.empty(answers.shape[1]), np.empty(answers.shape[1])
    # In blocks, since a hub of 100,000 models times all cells is much memory.
    for start in range(0, answers.shape[1], 4096):
        block = answers[which, start : start + 4096]
        low[start : start + 4096] = np.partition(block - errors[:, None], total - rank, axis=0)[total - rank]
        high[start : start + 4096] = np.partition(block + errors[:, None], rank - 1, axis=0)[rank - 1]
    return low, high
