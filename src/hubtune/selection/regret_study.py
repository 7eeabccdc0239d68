"""How much accuracy each search strategy would have cost, had it been used where everything was fine-tuned.

Source: Renggli et al. (2021), sections 3 to 5: regret by strategy, pool and budget (Figures 3, 4), relative deltas of pairs of strategies
(Figures 5, 6), optimal picks against the budget (Figure 7).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubtune.errors import ConfigurationError, DataError
from hubtune.hub import ModelCard
from hubtune.hub.card import FIELDS
from hubtune.hub.query import select
from hubtune.selection.mean_rank import MeanRank
from hubtune.selection.meta_learned import MetaLearned
from hubtune.selection.predicting import LEAST_CELLS, LEAST_TASKS
from hubtune.selection.regret_pool import FROM_CARDS, HELD_OUT, META, ORACLE, RANDOM, PoolStudy, can_predict
from hubtune.selection.regret_table import RegretTable, read_table
from hubtune.selection.strategies import IMAGENET, ByProxy, Hybrid, Strategy, TaskAgnostic

BUDGET = 5
"""K, where none is given."""

_NAMED = re.compile(r"\s*([A-Za-z][\w.-]*)\s*=(?!=)(.*)", re.DOTALL)
_CONSTANT = re.compile(r"\s*([-+.\w]+|'[^']*')\s*")


@dataclass(frozen=True, kw_only=True)
class RegretStudy:
    """Regret of every strategy that a table allows. All rows are plain dictionaries."""

    source: str
    """Name of the table."""
    models: int
    repeats: int
    """The most trainings of one model on one task."""
    measures: tuple[str, ...]
    """"absolute" (Equation 1), "relative" (Equation 2), and "log_odds" where it was asked for."""
    strategies: tuple[str, ...]
    scores: tuple[str, ...]
    """The columns that models were ranked by, linear first."""
    pools: list[dict[str, Any]]
    """name, where, models (names), budget (largest), tasks (task, models, best, accuracy)."""
    rows: list[dict[str, Any]]
    """pool, task, strategy, budget, picks, accuracy (of the best pick), the measures, optimal (1 where a best model is among the picks;
    for random all of it in exact expectation)."""
    means: list[dict[str, Any]]
    """pool, strategy, budget, the measures and optimal as means over the tasks, tasks (how many)."""
    deltas: list[dict[str, Any]]
    """pool, first, second, budget, task, relative (Equation 2 of the two strategies, positive where the first is better), log_odds."""
    dimensions: list[dict[str, Any]]
    """pool, task, model, feature_dim, accuracy and the scores, where the table knows how many features a model has."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON would return it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def regret(
    table: str | Path | Iterable[Mapping[str, Any]],
    *,
    pools: Sequence[str] | Mapping[str, str] = (),
    budget: int | None = None,
    scores: Sequence[str] | None = None,
    log_odds: bool = False,
) -> RegretStudy:
    """Regret of each search strategy, by task, pool of models and budget B = 1..K.

    Args:
        table: a CSV or parquet file, or rows; see `hubtune.selection.regret_table`.
        pools: conditions over the cards' fields, as ``Hub.where`` takes them, each alone or as ``NAME=CONDITION``, or a mapping;
            none is the whole table.
        budget: K; None is 5, or the pool's size where that is smaller.
        scores: the columns to rank by; None takes every column of numbers that is nothing else.
        log_odds: add regrets and deltas as differences of log-odds.

    Raises:
        DataError: a table that cannot be used.
        ConfigurationError: a pool of fewer than two models, a condition that is none, a budget below 1 or above a pool's size.
        UnknownNameError: no such column of scores, or no such pool.
    """
    read = read_table(table, scores)
    notes = list(read.notes)
    strategies = strategies_of(read, notes)
    measures = ("absolute", "relative", *(("log_odds",) if log_odds else ()))
    described, rows, means, deltas, dimensions = [], [], [], [], []
    for name, condition in _named(pools).items():
        members = _members(read, name, condition)
        largest = _largest(budget, name, members)
        pool = PoolStudy(read, name, members, largest, strategies, measures)
        described.append({"name": name, "where": condition, "models": [c.name for c in members], "budget": largest, "tasks": pool.tasks()})
        rows += pool.rows
        means += pool.means()
        deltas += pool.deltas()
        dimensions += pool.dimensions()
        notes += pool.notes
    return RegretStudy(
        source=read.name,
        models=len(read.cards),
        repeats=read.repeats,
        measures=measures,
        strategies=(*(strategy.name for strategy in strategies), RANDOM),
        scores=read.score_names,
        pools=described,
        rows=rows,
        means=means,
        deltas=deltas,
        dimensions=dimensions,
        notes=tuple(dict.fromkeys(notes)),
    )


def strategies_of(table: RegretTable, notes: list[str]) -> list[Strategy]:
    """The strategies that the columns of a table allow; what they do not allow is added to the notes."""
    ranked = [*table.score_names, *(f"hybrid-{score}" for score in table.score_names)]
    reserved = {TaskAgnostic().name, RANDOM, ORACLE, HELD_OUT, META, FROM_CARDS, MeanRank().name}
    clash = sorted((reserved & set(ranked)) | {name for name in ranked if ranked.count(name) > 1})
    if clash:
        raise DataError(f"the table {table.name} has columns of scores called {', '.join(clash)}, as strategies are: rename them")
    agnostic = _agnostic(table, notes)
    found: list[Strategy] = [TaskAgnostic()] if agnostic else []
    found += [ByProxy(score) for score in table.score_names]
    found += [Hybrid(score) for score in table.score_names] if agnostic else []
    if not table.score_names:
        notes.append("no column of scores: no task-aware strategy; add a column such as linear or knn")
    joined = tuple(proxy for proxy in MeanRank().proxies if proxy in table.score_names)
    found += [MeanRank(proxies=joined)] if len(joined) > 1 else []
    if can_predict(table):
        found += [ByProxy(META)] if set(table.score_names) & set(MetaLearned().proxies) else []
        found += [ByProxy(FROM_CARDS)]
    else:
        notes.append(
            f"no meta-learned strategy: it predicts each task from the others, and needs {LEAST_CELLS} trainings on {LEAST_TASKS} others"
        )
    return [*found, ByProxy(ORACLE), ByProxy(HELD_OUT)]


def _agnostic(table: RegretTable, notes: list[str]) -> bool:
    """Whether the cards say enough for the task-agnostic strategy."""
    rated = any(card.upstream_accuracy is not None and card.upstream_dataset == IMAGENET for card in table.cards)
    sized = any(card.upstream_images is not None for card in table.cards)
    if not (rated or sized):
        notes.append(
            "no task-agnostic and no hybrid strategy: they need upstream_accuracy with upstream_dataset "
            f"{IMAGENET!r}, or upstream_images; add these columns"
        )
    elif "upstream_accuracy" in table.fields and not rated:
        notes.append(
            f"no model has an upstream_accuracy on {IMAGENET!r} (upstream_dataset): task-agnostic goes by upstream_images and size"
        )
    return rated or sized


def _named(pools: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Conditions by name. An unnamed one is called as it reads, ``pool:X`` is called X."""
    if not pools:
        return {"All": "pool:All"}
    if isinstance(pools, Mapping):
        return dict(pools)
    named: dict[str, str] = {}
    for text in pools:
        parts = _NAMED.fullmatch(text)
        # A name for a constant is rather a misspelt field.
        if parts and parts[1].lower() not in FIELDS and not _CONSTANT.fullmatch(parts[2]):
            name, condition = parts[1], parts[2].strip()
        else:
            name, condition = text.strip().removeprefix("pool:"), text.strip()
        if name in named:
            raise ConfigurationError(f"two pools are called {name!r}; expected distinct names: write NAME=CONDITION")
        named[name] = condition
    return named


def _members(table: RegretTable, name: str, condition: str) -> list[ModelCard]:
    chosen = set(select(table.cards, condition, table.fields))
    if len(chosen) < 2:
        raise ConfigurationError(
            f"pool {name!r} ({condition}) holds {len(chosen)} of the table's {len(table.cards)} models; expected at least two: "
            "loosen the condition"
        )
    return [card for card in table.cards if card.name in chosen]


def _largest(budget: int | None, name: str, members: Sequence[ModelCard]) -> int:
    if budget is None:
        return min(BUDGET, len(members))
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget <= len(members):
        raise ConfigurationError(
            f"budget {budget!r} cannot be met: pool {name!r} has {len(members)} models; expected a whole number from 1 to {len(members)}"
        )
    return budget
