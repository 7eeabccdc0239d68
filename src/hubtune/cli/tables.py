"""Tables whose names stay whole, however narrow the terminal is."""

from collections.abc import Collection, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

TEXT = 16
"""Letters that a column of texts is given at least, before another column is left out for it."""


def print_table(
    columns: Mapping[str, Sequence[str]], *, title: str, right: Collection[str] = (), texts: Collection[str] = (), least: Sequence[str] = ()
) -> None:
    """Print a table. Where the output is no terminal, it is as wide as its cells are long.

    Args:
        columns: cells by header; those of the first column are names.
        right: columns of numbers.
        texts: columns whose cells may go on in the next line.
        least: columns that a narrow terminal does without, the least important first.
    """
    console = Console(markup=False)
    widths = {header: max(map(cell_len, (header, *cells))) for header, cells in columns.items()}
    if not console.is_terminal:
        console.width = max(console.width, _together(widths))
    needed = {header: min(width, TEXT) if header in texts else width for header, width in widths.items()}
    for header in least:
        if _together(needed) > console.width:
            del needed[header]
    table = Table(title=title)
    for header in needed:
        whole = header not in texts
        justify = "right" if header in right else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=whole, min_width=widths[header] if whole else None)
    for row in zip(*(columns[header] for header in needed), strict=True):
        table.add_row(*row)
    console.print(table, crop=False)


def _together(widths: Mapping[str, int]) -> int:
    """Of a table: columns with their margins, and the lines between them."""
    return sum(width + 3 for width in widths.values()) + 1
