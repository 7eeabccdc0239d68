"""``hubtune compare``: several methods on one task, over several seeds."""

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
    Strategy,
    Test,
    Train,
    Where,
    Workers,
    command_line,
    is_main_process,
    open_hub,
    open_task,
    print_json,
    progress,
    settings,
)

BUDGET = 5
"""Models that are compared on where nobody says: a whole hub is more than most would wait for."""


def compare(
    data: Data,
    hub: HubSpec = "demo",
    where: Where = None,
    models: Models = None,
    methods: Annotated[
        str, typer.Option(help="Names of methods, separated by commas; LABEL=NAME puts one method into several rows.")
    ] = "fine-tune,ensemble,ensemble-top-k,hub-pathway",
    seeds: Annotated[int, typer.Option(min=1, help="How often each method is done: with the seeds 0, 1, ...")] = 3,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field: METHOD.NAME=VALUE, or NAME=VALUE for every method that has it; may be repeated."),
    ] = None,
    strategy: Strategy = "auto",
    budget: Annotated[
        int | None, typer.Option(help=f"Search first and go on with so many models; by default {BUDGET}, or all of --models.")
    ] = None,
    input_size: InputSize = None,
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
    as_json: Json = False,
) -> None:
    """Compare methods: accuracy with its spread over seeds, cost for one image, training time. What is finished is not done again."""
    from hubtune.workflow import compare as run_compare
    from hubtune.workflow import contestants

    chosen = contestants(methods.split(","), settings(set_ or []))
    found = open_hub(hub, where, models)
    task = open_task(data, augmentation, train, test)
    if budget is None and models is None:
        budget = min(BUDGET, len(found))
    with progress() as listen:
        run = run_compare(
            task,
            found,
            chosen,
            seeds=seeds,
            budget=budget,
            strategy=strategy,
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
        print_json({"path": str(run.path), **run.record["comparison"], "seconds": run.record["seconds"]})
        return
    from rich.console import Console

    from hubtune.report import comparison_table

    Console(markup=False).print(comparison_table(run.record))
    print(f"run:    {run.path}\nreport: {run.path / 'report.html'}")
