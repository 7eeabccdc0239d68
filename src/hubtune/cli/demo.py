"""``hubtune demo``: the main job on embedded models and data, with no download."""

from pathlib import Path
from typing import Annotated

import typer

from hubtune.cli.options import Seed, command_line, open_hub, open_task, progress


def demo(
    task: Annotated[str, typer.Option(help="An embedded task: digits, location, orientation, counting, texture, shapes.")] = "digits",
    budget: Annotated[int, typer.Option(min=1, help="Models to fine-tune.")] = 2,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The run's folder.")] = None,
) -> None:
    """Pick models from the embedded hub, fine-tune the picks, and hand over the best one with a report."""
    from rich.console import Console

    from hubtune.report import summary
    from hubtune.workflow import tune

    console = Console(markup=False)
    hub = open_hub("demo")
    data = open_task(f"demo:{task}")
    sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits.items())
    console.print(f"[bold]1.[/] A task: demo:{task} ({sizes} images). A hub: {len(hub)} small pre-trained models.")
    console.print(f"[bold]2.[/] Search: one forward pass per model and image, then a linear proxy; {budget} models are picked.")
    console.print("[bold]3.[/] Fine-tune the picks at two learning rates, keep the best by validation accuracy, test it once.")
    with progress() as listen:
        run = tune(data, hub, budget=budget, seed=seed, out=out, request={"hub": "demo", "command": command_line()}, on_event=listen)
    console.print(summary(run.record))
    print(f"report: {run.path / 'report.html'}")
    print(f"try:    hubtune predict {run.path} IMAGE...")
    print("next:   hubtune tune FOLDER_OF_IMAGES --hub demo      (or --hub timm, or a folder of models of your own)")
