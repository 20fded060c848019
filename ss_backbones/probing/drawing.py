"""What the pictures of a probe share: style, colours, the names of blocks at axes, grids of panels, PNG."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import ceil

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

GL1, GL2, LINE = '#0072B2', '#D55E00', 'black'  # of Okabe and Ito's palette, which colour-blind people can tell apart
LIGHT = '0.75'
WIDTH = 12.6  # of all pictures, inches
_COLUMNS = 6
_PANEL_WIDTH = 4.2  # at most, inches
_DPI = 110
_LEAST_SPAN = 0.1
_LARGE = 300_000  # bytes; clouds of points come to more
_PALETTE = 128  # colours that are kept of those
_STYLE = {
    'font.size': 9,
    'axes.titlesize': 9,
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'legend.frameon': False,
    'figure.constrained_layout.use': True,
    'figure.constrained_layout.h_pad': 0.08,
}


@contextmanager
def drawn_alike() -> Iterator[None]:
    """The style of the pictures, whatever the user's own is."""
    with style.context(['default', _STYLE]):
        yield


def columns_for(count: int) -> int:
    """How many of so many panels stand in a row, so that the last row is as full as can be."""
    return ceil(count / ceil(count / _COLUMNS))


def grid(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels.

    Args:
        height: Of a row, inches.

    Returns:
        The figure, and the axes of the panels, row by row.
    """
    rows = ceil(count / columns)
    figure = Figure(figsize=(min(WIDTH, _PANEL_WIDTH * columns), height * rows + 0.6))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def short_names(blocks: Sequence[str]) -> list[str]:
    """'stages.1.blocks.0' is '1.0', and 'blocks.3' is '3'."""
    return ['.'.join(re.findall(r'\d+', name)) for name in blocks]


def axis_name(blocks: Sequence[str]) -> str:
    """What the short names are."""
    return 'stage.block' if blocks[0].startswith('stages') else 'block'


def ticks(blocks: Sequence[str], most: int) -> tuple[range, list[str]]:
    """Places and names for an axis of blocks, with no more than so many."""
    step = ceil(len(blocks) / most)
    return range(0, len(blocks), step), short_names(blocks)[::step]


def stage_starts(blocks: Sequence[str]) -> list[int]:
    """Where a stage begins, but for the first."""
    stages = [name.rsplit('.blocks.')[0] if name.startswith('stages') else '' for name in blocks]
    return [i for i in range(1, len(stages)) if stages[i] != stages[i - 1]]


def give_room(ax: Axes, low: float, high: float) -> None:
    """Widen the vertical axis so that rounding does not fill it, within the range that its numbers can have."""
    bottom, top = ax.get_ylim()
    more = max(0.0, _LEAST_SPAN - (top - bottom)) / 2
    margin = _LEAST_SPAN / 20
    ax.set_ylim(max(bottom - more, low - margin), min(top + more, high + margin))


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; if that were large, with fewer colours."""
    drawn = BytesIO()
    figure.savefig(drawn, format='png', dpi=_DPI)
    if drawn.tell() <= _LARGE:
        return drawn.getvalue()
    small = BytesIO()
    image = Image.open(drawn).convert('RGB').quantize(_PALETTE, dither=Image.Dither.NONE)
    image.save(small, format='png', optimize=True)
    return small.getvalue()
