"""Tables on stdout."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

WIDEST = 160  # characters of a line of a table that does not go to a terminal


def print_table(columns: Mapping[str, str], rows: Sequence[Sequence[str | float | None]]) -> None:
    """Print a table to stdout, with a dash for None.

    Args:
        columns: Their heads, and how the numbers below are formatted; '' for words.
        rows: Of cells; a short one ends early.
    """
    table = Table(box=None, padding=(0, 0, 0, 2), header_style='')
    for head, form in columns.items():
        table.add_column(head, justify='right' if form else 'left', no_wrap=bool(form), overflow='fold')
    for row in rows:
        table.add_row(
            *('-' if cell is None else format(cell, form) for cell, form in zip(row, columns.values(), strict=False))
        )
    width = None if sys.stdout.isatty() else WIDEST
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)
