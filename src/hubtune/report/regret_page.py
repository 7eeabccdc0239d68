"""The page of a regret study: what each search strategy costs, by pool, budget and task."""

from pathlib import Path
from typing import Any

from hubtune.report.page import document, put
from hubtune.report.regret_charts import HELD_OUT, ORACLE, RANDOM, charts_of
from hubtune.report.section import Section, fill, several

MEASURES = {"absolute": "absolute regret", "relative": "relative regret", "log_odds": "regret in log-odds"}


def write_regret(study: dict[str, Any], target: Path, version: str | None = None) -> Path:
    """Write the page of a regret study as one self-contained file, and return its path.

    Args:
        study: what ``RegretStudy.to_dict`` returned.

    Raises:
        RunError: it cannot be written.
    """
    return put(render_regret(study, version), target)


def render_regret(study: dict[str, Any], version: str | None = None) -> str:
    """The page of a regret study as HTML."""
    sections = [_headline(study), *(_pool(study, place) for place in range(len(study["pools"])))]
    return document(f"Regret: {study['source']}", sections, version)


def main_measure(study: dict[str, Any]) -> str:
    """The measure that is drawn: log-odds where they were asked for."""
    return "log_odds" if "log_odds" in study["measures"] else "relative"


def mean_table(study: dict[str, Any], pool: str) -> list[dict[str, Any]]:
    """A row a strategy with its means by budget, best first at the largest budget that all of them share."""
    means = [row for row in study["means"] if row["pool"] == pool]
    rows = []
    for strategy in dict.fromkeys(row["strategy"] for row in means):
        own = {row["budget"]: row for row in means if row["strategy"] == strategy}
        rows.append({"strategy": strategy, "tasks": max(row["tasks"] for row in own.values()), "means": own})
    measure = main_measure(study)
    return sorted(rows, key=lambda row: (-row["tasks"], row["means"][min(2, max(row["means"]))][measure]))


def _headline(study: dict[str, Any]) -> Section:
    tasks = {row["task"] for row in study["rows"]}
    facts = [
        ("Table", study["source"]),
        ("Models", str(study["models"])),
        ("Tasks", f"{len(tasks)}: {several(sorted(tasks), 20)}"),
        ("Trainings", "one of each model on each task" if study["repeats"] == 1 else f"medians of up to {study['repeats']}"),
        ("Pools", "; ".join(f"{pool['name']} ({len(pool['models'])} models)" for pool in study["pools"])),
        ("Ranked by", several(study["scores"], 20) or None),
    ]
    body = fill(
        "regret_headline.html",
        study=study,
        facts=[(name, value) for name, value in facts if value],
        sentences=[sentence for pool in study["pools"] if (sentence := _sentence(study, pool))],
        measure=MEASURES[main_measure(study)],
    )
    return Section("result", "Result", body)


def _sentence(study: dict[str, Any], pool: dict[str, Any]) -> dict[str, Any] | None:
    """The usable strategy that costs least, and what random would cost, at a budget of two where there is one."""
    budget = min(2, pool["budget"])
    rows = {row["strategy"]: row["means"][budget] for row in mean_table(study, pool["name"]) if budget in row["means"]}
    tasks = len(pool["tasks"])
    usable = {name: row for name, row in rows.items() if name not in (ORACLE, HELD_OUT, RANDOM) and row["tasks"] == tasks}
    if not usable:
        return None
    least = min(row[main_measure(study)] for row in usable.values())
    best = [name for name, row in usable.items() if row[main_measure(study)] == least]
    return {"pool": pool, "budget": budget, "best": best, "mean": usable[best[0]], "random": rows.get("random")}


def _pool(study: dict[str, Any], place: int) -> Section:
    pool = study["pools"][place]
    name, budgets = pool["name"], range(1, pool["budget"] + 1)
    rows = [row for row in study["rows"] if row["pool"] == name]
    table: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        table.setdefault((row["task"], row["strategy"]), {})[row["budget"]] = row
    measure = main_measure(study)
    charts = charts_of(study, pool, f"pool-{place}", measure)
    body = fill(
        "regret_pool.html",
        pool=pool,
        budgets=budgets,
        measure=measure,
        measure_name=MEASURES[measure],
        means=mean_table(study, name),
        charts=charts,
        table=[(*key, by_budget) for key, by_budget in table.items()],
    )
    return Section(f"pool-{place}", f"Pool {name}", body, charts=True)
