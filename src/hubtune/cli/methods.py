"""``hubtune methods``, ``strategies`` and ``rl methods``: what there is to choose from, and what can be set of it."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hubtune.cli.options import Json, print_json

if TYPE_CHECKING:
    from hubtune.workflow.describing import Described

Name = Annotated[str | None, typer.Argument(help="Show what can be set of this one; without it all are listed.")]


def methods(name: Name = None, as_json: Json = False) -> None:
    """List the methods of tune and compare, or the fields of one, as --set takes them."""
    from hubtune.workflow.describing import describe_method, describe_methods

    _show(describe_methods() if name is None else describe_method(name), "--set", as_json)


def strategies(name: Name = None, as_json: Json = False) -> None:
    """List the strategies of search, or the fields of one, as --strategy-set takes them."""
    from hubtune.workflow.describing import describe_strategies, describe_strategy

    _show(describe_strategies() if name is None else describe_strategy(name), "--strategy-set", as_json)


def policy_methods(name: Name = None, as_json: Json = False) -> None:
    """List the methods of train and transfer, or the fields of one, as --set takes them."""
    from hubtune.workflow.describing import describe_policy_method, describe_policy_methods

    _show(describe_policy_methods() if name is None else describe_policy_method(name), "--set", as_json)


def _show(found: "Described | list[Described]", option: str, as_json: bool) -> None:
    if as_json:
        print_json([dataclasses.asdict(each) for each in found] if isinstance(found, list) else dataclasses.asdict(found))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    if isinstance(found, list):
        table.add_column("name", no_wrap=True)
        table.add_column("what it does")
        for each in found:
            table.add_row(each.name, each.about.replace("``", "`"))
    else:
        print("\n\n".join(text for text in (f"{found.name}: {found.about}", found.details) if text))
        table.add_column(f"{option} NAME=VALUE", no_wrap=True)
        for column in ("values", "default", "meaning"):
            table.add_column(column)
        for field in found.fields:
            table.add_row(field.name, field.type, _written(field.default), field.about.replace("``", "`"))
    if table.rows:
        Console(markup=False).print(table)
    else:
        print("\nnothing can be set of it")


def _written(default: Any) -> str:
    """As it would be typed after NAME=."""
    return default if isinstance(default, str) else "none" if default is None else json.dumps(default)
