"""``hubtune models``: what is in a hub."""

from typing import TYPE_CHECKING, Annotated

import typer

from hubtune.cli.options import HubSpec, Json, Models, Where, open_hub, print_json, tell

if TYPE_CHECKING:
    from hubtune.hub import ModelCard


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
    from hubtune.cli.tables import print_table

    cards = list(found)[:limit]
    columns = {
        "name": [card.name for card in cards],
        "architecture": [card.architecture for card in cards],
        "pre-trained on": [card.pretraining or "" for card in cards],
        "paradigm": [card.paradigm or "" for card in cards],
        "params": [_amount(card.params) for card in cards],
        "FLOPs": [_amount(card.flops) for card in cards],
        "pixels": [str(card.input_size) for card in cards],
        "upstream accuracy": [_upstream(card) for card in cards],
        "licence": [card.license or "unknown" for card in cards],
    }
    print_table(
        columns,
        title=f"{len(found)} models of {hub}",
        right=("params", "FLOPs", "pixels", "upstream accuracy"),
        texts=("pre-trained on", "paradigm", "upstream accuracy"),
        least=("licence", "paradigm", "architecture", "pixels", "upstream accuracy", "FLOPs"),
    )
    if len(found) > limit:
        print(f"and {len(found) - limit} more: --limit {len(found)}")


def _upstream(card: "ModelCard") -> str:
    return "" if card.upstream_accuracy is None else f"{100 * card.upstream_accuracy:.1f} % {card.upstream_dataset or ''}"


def _amount(value: float | None) -> str:
    if value is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"
