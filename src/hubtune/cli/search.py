"""``hubtune search``: which models are worth fine-tuning."""

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
    is_main_process,
    open_hub,
    open_task,
    print_json,
    progress,
    tell,
)


def search(
    data: Data,
    hub: HubSpec = "demo",
    where: Where = None,
    models: Models = None,
    strategy: Strategy = "auto",
    strategy_set: StrategySet = None,
    budget: Annotated[
        str, typer.Option(help="Models to pick, or what the search may spend: 2, 60s, '2000 passes', '3 models, 5 min'.")
    ] = "2",
    past: Past = "auto",
    input_size: InputSize = None,
    seed: Seed = 0,
    train: Train = None,
    test: Test = None,
    augmentation: Augmentation = None,
    device: Device = None,
    engine: EngineName = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    as_json: Json = False,
) -> None:
    """Pick the models of a hub that are worth fine-tuning on labelled images."""
    from hubtune.engines import engine_named
    from hubtune.selection import search as run_search
    from hubtune.training.runtime import Runtime

    picking = chosen_strategy(strategy, strategy_set)
    found = open_hub(hub, where, models)
    tell(found.notes)
    task = open_task(data, augmentation, train, test)
    chosen = None if engine is None else engine_named(engine, workers=workers, gpus_per_worker=gpus_per_worker)
    runtime = Runtime(device_name=device or (chosen.default_device if chosen else None))
    options = {"budget": budget, "input_size": input_size, "seed": seed, "device": str(runtime.device), "engine": chosen, "past": past}
    with progress() as listen:
        ranking = runtime.on_main(lambda: run_search(found, task, picking, on_event=listen, **options))
    if not is_main_process():
        return
    if as_json:
        print_json(ranking.to_dict())
        return
    from rich.console import Console

    from hubtune.report import search_table

    console = Console(markup=False)
    for note in (*task.notes, *ranking.notes):
        console.print(f"note: {note}", style="yellow")
    console.print(search_table(ranking.rows), crop=False)
    console.print(f"picks: {', '.join(ranking.picks.names)}   ({ranking.seconds:.1f} s, {ranking.forward_passes} forward passes)")
    if ranking.expected_regret is not None:
        print(f"the best pick is expected to fall {100 * ranking.expected_regret:.1f} points short of the hub's best model")
