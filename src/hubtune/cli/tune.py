"""``hubtune tune``: from labelled images to the best transferred model."""

import math
from pathlib import Path
from typing import Annotated

import typer

from hubtune.cli.options import (
    Augmentation,
    Data,
    Device,
    EngineName,
    GpusPerWorker,
    HubSpec,
    InputSize,
    Json,
    Models,
    Past,
    Seed,
    Strategy,
    StrategySet,
    Test,
    Train,
    Where,
    Workers,
    chosen_strategy,
    command_line,
    is_main_process,
    open_hub,
    open_task,
    print_json,
    progress,
    settings,
)


def tune(
    data: Data,
    hub: HubSpec = "demo",
    where: Where = None,
    models: Models = None,
    method: Annotated[
        str, typer.Option(help="fine-tune, l2t-ww, hub-pathway or another of `hubtune methods`, or my.module:Class.")
    ] = "fine-tune",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the method, see `hubtune methods NAME`: NAME=VALUE; may be repeated.")
    ] = None,
    strategy: Strategy = "auto",
    strategy_set: StrategySet = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Search first and go on with so many models; by default 2, or all of --models. As in search: '2 models, 60s'."),
    ] = None,
    past: Past = "auto",
    input_size: InputSize = None,
    seed: Seed = 0,
    train: Train = None,
    test: Test = None,
    augmentation: Augmentation = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default one under HUBTUNE_RUNS.")] = None,
    device: Device = None,
    precision: Annotated[str, typer.Option(help="no or bf16.")] = "no",
    engine: EngineName = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    time_limit: Annotated[float | None, typer.Option(min=1, help="Seconds after which no further step is made.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate seconds and downloads.")] = False,
    as_json: Json = False,
) -> None:
    """Search a hub, transfer the picks, and keep the best model by validation accuracy."""
    from hubtune.selection import Budget
    from hubtune.workflow import estimate, method_named
    from hubtune.workflow import tune as run_tune

    chosen = method_named(method, settings(set_ or []))
    picking = chosen_strategy(strategy, strategy_set)
    found = open_hub(hub, where, models)
    task = open_task(data, augmentation, train, test)
    if budget is None and models is None and not chosen.takes_many:
        budget = str(min(2, len(found)))
    if dry_run:
        picks = None if budget is None else Budget.parse(budget).picks(len(found))
        print_estimate(estimate(task, found, chosen, budget=picks, strategy=picking, input_size=input_size, device=device), as_json)
        return
    with progress() as listen:
        run = run_tune(
            task,
            found,
            chosen,
            seed=seed,
            budget=budget,
            strategy=picking,
            past=past,
            input_size=input_size,
            out=out,
            device=device,
            precision=precision,
            engine=engine,
            workers=workers,
            gpus_per_worker=gpus_per_worker,
            time_limit=time_limit,
            request={"hub": hub, "where": where, "command": command_line()},
            on_event=listen,
        )
    if not is_main_process():
        return
    if as_json:
        print_json({"path": str(run.path), "metrics": run.metrics, "chosen": run.record["chosen"], "seconds": run.record["seconds"]})
        return
    from rich.console import Console

    from hubtune.report import summary

    Console(markup=False).print(summary(run.record), crop=False)
    print(f"run:    {run.path}\nmodel:  {run.path / 'model'}\nreport: {run.path / 'report.html'}")


def print_estimate(estimated: dict, as_json: bool) -> None:
    if as_json:
        print_json(estimated)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="estimate")
    for column in ("model", "download", "search", "training", ""):
        table.add_column(column, overflow="fold")
    for row in estimated["rows"]:
        table.add_row(
            row["name"],
            f"{row['download_bytes'] / 1e6:.0f} MB" if row["download_bytes"] else "none",
            _seconds(row["search_seconds"]),
            _seconds(row["training_seconds"]),
            f"cannot be measured: {row['error']}" if row["error"] else "",
        )
    Console(markup=False).print(table)
    for each in estimated["trainings"]:
        if len(each["models"]) > 1:
            print(f"{each['method']} of {len(each['models'])} models: {_seconds(each['seconds'])}")
    if math.isnan(estimated["seconds"]):
        print(f"{estimated['trained']} trainings; how long they take shows once a model of the hub is on this machine")
        return
    print(
        f"about {_seconds(estimated['seconds'])}, one after another: {_seconds(estimated['search_seconds'])} of search, "
        f"then {estimated['trained']} trainings"
    )


def _seconds(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.0f} s"
