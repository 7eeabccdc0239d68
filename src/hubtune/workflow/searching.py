"""The search before the trainings, within the time that both may take."""

import dataclasses
import math

from hubtune.hub import Hub
from hubtune.selection import Budget, Ranking, Strategy, search
from hubtune.selection.scoring import NotScoredInTime
from hubtune.tasks import Task
from hubtune.training.loop import OutOfTime


def search_in_time(
    hub: Hub, task: Task, strategy: str | Strategy, *, budget: int | str | Budget, time_limit: float | None, **options
) -> Ranking:
    """A search, which ends where the time for the whole work ends, unless its budget ends it earlier.

    Args:
        time_limit: seconds; None is no limit.
        options: of ``search``.

    Raises:
        OutOfTime: the limit came before all was compared. The search is not cut short: its picks would depend on the machine's speed.
    """
    allowed = Budget.parse(budget)
    if time_limit is None or (allowed.seconds or math.inf) <= time_limit:
        return search(hub, task, strategy, budget=allowed, **options)
    late = OutOfTime("the time limit came before the search was done; the same command with more time goes on from there")
    try:
        ranking = search(hub, task, strategy, budget=dataclasses.replace(allowed, seconds=max(time_limit, 1e-6)), **options)
    except NotScoredInTime as error:
        raise late from error
    if ranking.late:
        raise late
    return ranking
