"""What the terminal shows of a regret study."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hubtune.report.regret_page import main_measure, mean_table
from hubtune.report.section import percent, several


def regret_tables(study: dict[str, Any], by_task: bool = False) -> RenderableType:
    """A table for each pool: strategies by row, best first, budgets by column.

    Args:
        study: what ``RegretStudy.to_dict`` returned.
        by_task: add a table for each task.
    """
    return Group(*(table for pool in study["pools"] for table in _of_pool(study, pool, by_task)))


def _of_pool(study: dict[str, Any], pool: dict[str, Any], by_task: bool) -> Iterator[RenderableType]:
    measure, means = main_measure(study), mean_table(study, pool["name"])
    unit = f"points/{'nats of log-odds' if measure == 'log_odds' else 'relative'}"
    most = max(row["tasks"] for row in means)
    rows = [(row["strategy"] + ("" if row["tasks"] == most else f" ({row['tasks']} tasks)"), row["means"]) for row in means]

    def regret(row: dict[str, Any]) -> str:
        return f"{100 * row['absolute']:.1f}/" + (f"{row[measure]:.2f}" if measure == "log_odds" else percent(row[measure]))

    yield Text(f"Pool {pool['name']}: {len(pool['models'])} models, {len(pool['tasks'])} tasks", style="bold")
    yield _table(f"Mean regret, {unit}", pool, rows, regret)
    yield _table("How often a best model is among the picks", pool, rows, lambda row: percent(row["optimal"], 0))
    for entry in pool["tasks"] if by_task else ():
        cells: dict[str, dict[int, dict[str, Any]]] = {}
        for row in study["rows"]:
            if (row["pool"], row["task"]) == (pool["name"], entry["task"]):
                cells.setdefault(row["strategy"], {})[row["budget"]] = row
        title = f"Task {entry['task']}: regret, {unit}; best is {entry['best']} with {percent(entry['accuracy'])}"
        yield _table(title, pool, list(cells.items()), regret, picks=True)


def _table(
    title: str,
    pool: dict[str, Any],
    rows: list[tuple[str, dict[int, dict[str, Any]]]],
    cell: Callable[[dict[str, Any]], str],
    *,
    picks: bool = False,
) -> RenderableType:
    budgets = range(1, pool["budget"] + 1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("strategy", overflow="fold")
    for budget in budgets:
        table.add_column(f"B = {budget}", justify="right", no_wrap=True)
    if picks:
        table.add_column("picks", overflow="fold")
    for name, by_budget in rows:
        chosen = [Text(several(by_budget[pool["budget"]]["picks"]))] if picks else []
        table.add_row(Text(name), *(Text(cell(by_budget[budget])) for budget in budgets), *chosen)
    return Group(Text(title), table, Text())
