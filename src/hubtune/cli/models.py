"""``hubtune models``: what is in a hub."""

from typing import Annotated

import typer

from hubtune.cli.options import HubSpec, Json, Models, Where, open_hub, print_json, tell


def models(
    hub: HubSpec = "demo",
    where: Where = None,
    names: Models = None,
    limit: Annotated[int, typer.Option(min=1, help="Models to show.")] = 50,
    as_json: Json = False,
) -> None:
    """List the models of a hub, with what their cards say."""
    found = open_hub(hub, where, names)
    tell(found.notes)
    if as_json:
        print_json([card.to_dict() for card in found])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(found)} models of {hub}")
    for column in ("name", "architecture", "pre-trained on", "paradigm"):
        table.add_column(column, overflow="fold")
    for column in ("params", "FLOPs", "pixels", "upstream accuracy"):
        table.add_column(column, justify="right")
    table.add_column("licence")
    for card in list(found)[:limit]:
        table.add_row(
            card.name,
            card.architecture,
            card.pretraining or "",
            card.paradigm or "",
            _amount(card.params),
            _amount(card.flops),
            str(card.input_size),
            "" if card.upstream_accuracy is None else f"{100 * card.upstream_accuracy:.1f} % {card.upstream_dataset or ''}",
            card.license or "unknown",
        )
    console = Console(markup=False)
    console.print(table)
    if len(found) > limit:
        console.print(f"and {len(found) - limit} more: --limit {len(found)}")


def _amount(value: float | None) -> str:
    if value is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"
