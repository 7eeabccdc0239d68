"""``hubtune report``: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write a run's HTML page anew and print where it is."""
    from hubtune.report import write

    page = write(run)
    print(page)
    if browser:
        typer.launch(page.resolve().as_uri())
