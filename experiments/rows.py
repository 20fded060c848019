"""The rows of an experiment: written after each run, so that a study can be stopped and continued."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console


def rows_of(out: Path) -> list[dict[str, str]]:
    """What an experiment has written so far."""
    return list(csv.DictReader(out.open())) if out.exists() else []


def append(out: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the rows of a run after what is there, and show the last."""
    new = not out.exists()
    with out.open('a', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        if new:
            writer.writeheader()
        writer.writerows(rows)
    Console().print(rows[-1])
