"""``hubtune regret``: what each search strategy would have cost."""

from pathlib import Path
from typing import Annotated

import typer

from hubtune.cli.options import Json, print_json


def regret(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV or parquet: model, task, accuracy, seed or repeat; fields of the models' cards; scores, higher is better."
        ),
    ],
    pools: Annotated[
        list[str] | None,
        typer.Option("--pool", help="Models to compare within: SQL over their cards, NAME=SQL, or pool:ResNet-50. Repeatable."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="The largest number of fine-tunings, B = 1..K; 5 by default.")] = None,
    scores: Annotated[
        str | None, typer.Option(help="Columns to rank models by, separated by commas; by default every column of numbers.")
    ] = None,
    log_odds: Annotated[bool, typer.Option("--log-odds", help="Differences of log-odds in place of relative regret.")] = False,
    by_task: Annotated[bool, typer.Option("--by-task", help="A table for each task too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write a page with all figures to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure search strategies where everything was fine-tuned: regret by strategy, budget, pool and task."""
    from hubtune import __version__
    from hubtune.report import regret_tables, write_regret
    from hubtune.workflow import regret as measure_regret

    wanted = None if scores is None else [name.strip() for name in scores.split(",") if name.strip()]
    study = measure_regret(table, pools=pools or (), budget=budget, scores=wanted, log_odds=log_odds).to_dict()
    page = None if out is None else write_regret(study, out, __version__)
    if as_json:
        print_json(study)
        return
    from rich.console import Console

    console = Console(markup=False)
    for note in study["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    console.print(regret_tables(study, by_task))
    if page is not None:
        console.print(f"page: {page}", markup=False, highlight=False)
