"""What the pictures of measurements have in common."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ..output_files import new_file


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: object) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches and its axes, by row and column; ``options`` are those of Figure.subplots."""
    with rc_context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = Figure(size, layout='constrained')
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, out: Path) -> None:
    """Write a new PNG file.

    Raises:
        OutputError: It cannot be written.
    """
    with new_file(out) as file:
        figure.savefig(file, dpi=120, format='png')
