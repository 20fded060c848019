"""What is shown while something is measured, and tables of what was."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

WIDEST = 160  # characters of a line of a table that does not go to a terminal


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; one line elsewhere, because control codes would fill a log.

    Args:
        what: Is measured.
        steps: To be done.

    Yields:
        A function to say what the next step is. The bar is drawn there alone: a thread that draws it at any time would
        slow what is measured.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        print(f'measuring {what} ...', file=sys.stderr, flush=True)
    columns = (TextColumn('{task.description}', markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as bar:
        task, done = bar.add_task(what, total=steps), itertools.count()
        yield lambda step: bar.update(task, description=f'{what}: {step}', completed=next(done), refresh=True)


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
