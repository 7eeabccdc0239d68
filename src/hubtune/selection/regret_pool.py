"""One pool of models: what each strategy picks on each task, and what that costs.

Source: Renggli et al. (2021), sections 3 to 5.
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean
from typing import Any

from hubtune.errors import DataError
from hubtune.hub import ModelCard
from hubtune.selection.meta_learned import MetaLearned
from hubtune.selection.past_runs import cells, runs_of
from hubtune.selection.predicting import LEAST_CELLS, LEAST_TASKS, TaskFacts, predict
from hubtune.selection.regret import best_of_random, log_odds_delta, relative_delta
from hubtune.selection.regret_table import RegretTable
from hubtune.selection.strategies import ByProxy, Hybrid, Strategy, TaskAgnostic

ORACLE, HELD_OUT = "oracle", "oracle-held-out"
"""Rank by the mean fine-tuned accuracy over all tasks, and over all but the one at hand: task-agnostic with hindsight."""
META, FROM_CARDS = "meta-learned", "meta-learned-cards"
"""Rank by the accuracy predicted from the other tasks of the table: with the scores of this task, and from cards and past runs alone."""
RANDOM = "random"

DELTAS = {"absolute": lambda first, second: first - second, "relative": relative_delta, "log_odds": log_odds_delta}
"""Measure to how far the first accuracy lies above the second in it."""


class PoolStudy:
    """Regret of strategies in one pool; final.

    Args:
        table: the results.
        name: of the pool.
        members: its models.
        budget: K, the largest.
        strategies: those compared; random joins them as its exact expectation.
        measures: keys of ``DELTAS``.

    Raises:
        DataError: no task on which two of the models were fine-tuned.
    """

    def __init__(
        self,
        table: RegretTable,
        name: str,
        members: Sequence[ModelCard],
        budget: int,
        strategies: Sequence[Strategy],
        measures: Sequence[str],
    ):
        self.table, self.name, self.budget, self.strategies, self.measures = table, name, budget, strategies, measures
        self.notes: list[str] = []
        trained = {task: [card for card in members if card.name in accuracies] for task, accuracies in table.accuracies.items()}
        self.cards = {task: cards for task, cards in trained.items() if len(cards) > 1}
        if not self.cards:
            raise DataError(f"pool {name!r} has no task on which two of its models were fine-tuned; expected at least one")
        self._note(
            "tasks left out, as fewer than two of its models were fine-tuned on them", [task for task in trained if task not in self.cards]
        )
        self._note(
            "tasks on which fewer models than the budget were fine-tuned; larger budgets pick all of them",
            [task for task, cards in self.cards.items() if len(cards) < budget],
        )
        self._past = runs_of(table)
        self.scores = {task: self._scores(task) for task in self.cards}
        self._note_gaps()
        self.rows = [row for task in self.cards for row in self._rows(task)]

    def accuracies(self, task: str) -> dict[str, float]:
        """Fine-tuned accuracy of the pool's models on a task."""
        return {card.name: self.table.accuracies[task][card.name] for card in self.cards[task]}

    def tasks(self) -> list[dict[str, Any]]:
        """The best model of each task."""
        found = []
        for task in self.cards:
            accuracies = self.accuracies(task)
            best = max(accuracies, key=lambda model: accuracies[model])
            found.append({"task": task, "models": len(accuracies), "best": best, "accuracy": accuracies[best]})
        return found

    def means(self) -> list[dict[str, Any]]:
        """Means over the tasks on which a strategy could be used."""
        grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in self.rows:
            grouped.setdefault((row["strategy"], row["budget"]), []).append(row)
        return [
            {"pool": self.name, "strategy": strategy, "budget": budget, "tasks": len(grouped[strategy, budget])}
            | {column: mean(row[column] for row in grouped[strategy, budget]) for column in (*self.measures, "optimal")}
            for strategy in (*(strategy.name for strategy in self.strategies), RANDOM)
            for budget in range(1, self.budget + 1)
            if (strategy, budget) in grouped
        ]

    def deltas(self) -> list[dict[str, Any]]:
        """How much better the first of two strategies is than the second, by task and budget."""
        accuracy = {(row["task"], row["strategy"], row["budget"]): row["accuracy"] for row in self.rows}
        return [
            {"pool": self.name, "first": first, "second": second, "budget": budget, "task": task}
            | {measure: DELTAS[measure](accuracy[task, first, budget], accuracy[task, second, budget]) for measure in self.measures}
            for first, second in pairs(self.table.score_names)
            for budget in range(1, self.budget + 1)
            for task in self.cards
            if {(task, first, budget), (task, second, budget)} <= accuracy.keys()
        ]

    def dimensions(self) -> list[dict[str, Any]]:
        """Scores and accuracies beside the number of features: whether a score follows the one or the other."""
        return [
            {"pool": self.name, "task": task, "model": card.name, "feature_dim": card.feature_dim}
            | {"accuracy": self.table.accuracies[task][card.name], **self.table.scores.get(task, {}).get(card.name, {})}
            for task, cards in self.cards.items()
            for card in cards
            if card.feature_dim
        ]

    def _rows(self, task: str) -> Iterator[dict[str, Any]]:
        accuracies = self.accuracies(task)
        for strategy in self.strategies:
            if self._gaps(strategy, task):
                continue
            for budget in range(1, self.budget + 1):
                picks = strategy.rank(self.cards[task], self.scores[task], budget)[:budget]
                reached = [(max(accuracies[model] for model in picks), 1.0)]
                yield self._row(task, strategy.name, budget, picks, reached)
        for budget in range(1, self.budget + 1):
            yield self._row(task, RANDOM, budget, [], list(best_of_random(accuracies, min(budget, len(accuracies)))))

    def _row(self, task: str, strategy: str, budget: int, picks: list[str], reached: Sequence[tuple[float, float]]) -> dict[str, Any]:
        """A row of the study, from the best pick's accuracies and their probabilities."""
        best = max(self.accuracies(task).values())
        return {
            "pool": self.name,
            "task": task,
            "strategy": strategy,
            "budget": budget,
            "picks": picks,
            "accuracy": sum(probability * value for value, probability in reached),
            **{measure: sum(chance * DELTAS[measure](best, value) for value, chance in reached) for measure in self.measures},
            "optimal": sum(probability for value, probability in reached if value == best),
        }

    def _scores(self, task: str) -> dict[str, dict[str, float]]:
        """The table's scores of a task, those of the two oracles, and predicted accuracies."""
        everywhere, elsewhere = mean_leads(self.table, self.table.accuracies), mean_leads(self.table, self.table.accuracies.keys() - {task})
        known = self.table.scores.get(task, {})
        predicted = {name: self._predicted(task, name) for name in (META, FROM_CARDS) if ByProxy(name) in self.strategies}
        return {
            card.name: {
                **known.get(card.name, {}),
                ORACLE: everywhere[card.name],
                **({HELD_OUT: elsewhere[card.name]} if card.name in elsewhere else {}),
                **{name: accuracies[card.name] for name, accuracies in predicted.items()},
            }
            for card in self.cards[task]
        }

    def _predicted(self, task: str, strategy: str) -> dict[str, float]:
        """Accuracies of the pool's models on a task as all other tasks of the table let one expect them."""
        facts, known = self.table.tasks[task], self.table.scores.get(task, {})
        read = MetaLearned().proxies if strategy == META else ()
        scores = {card.name: {name: score for name, score in known.get(card.name, {}).items() if name in read} for card in self.cards[task]}
        past = cells(self._past, without=task)
        return dict(predict(past, TaskFacts(classes=facts.get("classes"), train=facts.get("images")), self.cards[task], scores).accuracy)

    def _gaps(self, strategy: Strategy, task: str) -> list[str]:
        """The models without a score that the strategy reads."""
        return [card.name for card in self.cards[task] if not set(strategy.proxies) <= self.scores[task][card.name].keys()]

    def _note_gaps(self) -> None:
        for strategy in self.strategies:
            if isinstance(strategy, Hybrid):
                continue  # its proxy has the same gaps
            gaps = {task: models for task in self.cards if (models := self._gaps(strategy, task))}
            lacking = [f"{task} ({', '.join(models)})" for task, models in gaps.items()]
            what = "accuracies on another task" if strategy.proxies == (HELD_OUT,) else "scores"
            self._note(f"{strategy.name} and what builds on it are left out where {what} are missing", lacking)

    def _note(self, text: str, about: Sequence[str]) -> None:
        if about:
            self.notes.append(f"pool {self.name}: {text}: {'; '.join(about)}")


def can_predict(table: RegretTable) -> bool:
    """Whether the other tasks suffice to predict each task."""
    trained = {task: len(accuracies) for task, accuracies in table.accuracies.items()}
    return len(trained) > LEAST_TASKS and sum(trained.values()) - max(trained.values()) >= LEAST_CELLS


def mean_leads(table: RegretTable, tasks: Iterable[str]) -> dict[str, float]:
    """Each model's accuracy above its task's mean, averaged over those of the tasks that it was fine-tuned on.

    Without missing cells this ranks as the mean accuracy does; with them it does not favour a model left out of a hard task.
    """
    leads: dict[str, list[float]] = {}
    for task in tasks:
        accuracies = table.accuracies[task]
        middle = mean(accuracies.values()) if accuracies else 0.0
        for model, accuracy in accuracies.items():
            leads.setdefault(model, []).append(accuracy - middle)
    return {model: mean(values) for model, values in leads.items()}


def pairs(scores: Sequence[str]) -> list[tuple[str, str]]:
    """Strategies that one would choose between: task-agnostic or a proxy, a hybrid or its proxy, the first proxy or another."""
    others = [(scores[0], score) for score in scores[1:]]
    return [
        *((TaskAgnostic().name, score) for score in scores),
        *((f"hybrid-{score}", score) for score in scores),
        *others,
        *((f"hybrid-{first}", f"hybrid-{second}") for first, second in others),
    ]
