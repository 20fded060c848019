"""What the scripts here share: the tests' small networks and trainings, --seed, and a table of what came of it."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]  # a checkout need not be installed; wheels have no tests


def parser(description: str | None) -> argparse.ArgumentParser:
    """With --seed; the same seed gives the same cases."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument('--seed', type=int, default=0, help='of the random choices (0)')
    return found


def finish(title: str, columns: tuple[str, ...], counts: Mapping[str, Counter], wrong: list[str]) -> int:
    """Print a row of counts for each name, and what went wrong; the exit status."""
    width = max(map(len, (title, *counts)))
    print(' '.join([title.ljust(width), *(column.rjust(10) for column in columns)]))
    for name, found in counts.items():
        print(' '.join([name.ljust(width), *(str(found[column]).rjust(10) for column in columns)]))
    print(*wrong, sep='\n')
    return int(bool(wrong))
