"""What is shown while something is measured."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
