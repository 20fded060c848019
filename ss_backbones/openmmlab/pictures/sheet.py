"""Panels on one sheet, with titles above, and a legend and a caption below."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from .classes import Colour

GAP = 6  # pixels between panels, and around them
LINE = 24  # pixels for a line of words
_NARROWEST = 300  # pixels, with words below
_DPI = 100


def sheet(
    panels: Sequence[Tensor],
    columns: int,
    titles: Sequence[str] = (),
    legend: Mapping[str, Colour] | None = None,
    caption: str = '',
) -> Image.Image:
    """The panels row by row, none of their pixels resampled.

    Args:
        panels: Each (3, H, W) in uint8.
        columns: How many are in a row.
        titles: One for each column, or none.
        legend: Colours by name.
        caption: A line at the bottom.
    """
    legend = legend or {}
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.shape[1] for panel in row) for row in rows]
    cell = max(panel.shape[2] for panel in panels)
    width = max(columns * (cell + GAP) + GAP, _NARROWEST if legend or caption else 0)
    names_in_row = max(1, width // (50 + 8 * max(map(len, legend), default=0)))
    legend_height = LINE * math.ceil(len(legend) / names_in_row)
    above, below = LINE if titles else GAP, legend_height + (LINE if caption else 0)
    height = above + sum(heights) + GAP * len(rows) + below
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    bottom = height - above
    for row, tallest in zip(rows, heights, strict=True):
        bottom -= tallest
        for column, panel in enumerate(row):
            image = panel.permute(1, 2, 0).numpy()
            figure.figimage(image, GAP + column * (cell + GAP), bottom + tallest - len(image), origin='upper')
        bottom -= GAP
    for column, title in enumerate(titles):
        middle = GAP + column * (cell + GAP) + cell / 2
        figure.text(middle / width, 1 - LINE / 2 / height, title, fontsize=10, ha='center', va='center')
    if legend:
        patches = [Patch(color=np.divide(colour, 255), label=name) for name, colour in legend.items()]
        area = (0, (below - legend_height) / height, 1, legend_height / height)
        place = {'loc': 'center', 'bbox_to_anchor': area, 'borderaxespad': 0}
        figure.legend(handles=patches, ncol=names_in_row, fontsize=10, frameon=False, borderpad=0, **place)
    if caption:
        figure.text(0.5, LINE / 2 / height, caption, fontsize=10, ha='center', va='center')
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=_DPI)
    return Image.open(buffer).convert('RGB')
