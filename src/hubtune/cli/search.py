"""``hubtune search``: which models are worth fine-tuning."""

from typing import Annotated

import typer

from hubtune.cli.options import (
    Augmentation,
    Data,
    Device,
    HubSpec,
    InputSize,
    Json,
    Models,
    Seed,
    Strategy,
    Test,
    Train,
    Where,
    open_hub,
    open_task,
    print_json,
    progress,
)


def search(
    data: Data,
    hub: HubSpec = "demo",
    where: Where = None,
    models: Models = None,
    strategy: Strategy = "hybrid-linear",
    budget: Annotated[int, typer.Option(help="How many models to pick.")] = 2,
    input_size: InputSize = None,
    seed: Seed = 0,
    train: Train = None,
    test: Test = None,
    augmentation: Augmentation = "none",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Pick the models of a hub that are worth fine-tuning on labelled images."""
    from hubtune.selection import search as run_search
    from hubtune.training.runtime import Runtime

    found = open_hub(hub, where, models)
    task = open_task(data, augmentation, train, test)
    with progress() as listen:
        ranking = run_search(
            found,
            task,
            strategy,
            budget=budget,
            input_size=input_size,
            seed=seed,
            device=str(Runtime(device_name=device).device),
            on_event=listen,
        )
    if as_json:
        print_json(ranking.to_dict())
        return
    from rich.console import Console

    from hubtune.report import search_table

    console = Console()
    for note in task.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    console.print(search_table(ranking.rows))
    console.print(f"picks: {', '.join(ranking.picks.names)}   ({ranking.seconds:.1f} s, {ranking.forward_passes} forward passes)")
