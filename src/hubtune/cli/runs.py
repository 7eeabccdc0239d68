"""``hubtune runs``: what was done."""

from hubtune.cli.options import Json, print_json


def runs(as_json: Json = False) -> None:
    """List the runs under HUBTUNE_RUNS, newest first."""
    from hubtune.runs import list_runs, runs_folder

    found = list_runs(runs_folder())
    if as_json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(found)} runs in {runs_folder()}")
    for column in ("run", "made", "task", "method", "models", "test accuracy"):
        table.add_column(column, overflow="fold")
    for row in found:
        accuracy = row["metrics"].get("test_accuracy")
        table.add_row(
            row["name"],
            row["created"],
            row["task"],
            row["method"],
            ", ".join(row["models"]),
            "" if accuracy is None else f"{100 * accuracy:.1f} %",
        )
    Console(markup=False).print(table)
