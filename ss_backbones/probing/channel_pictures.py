"""Pictures of single weights: along the channels, and of one layer against the other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from .drawing import GL1, LIGHT, LINE, columns_for, grid, png
from .observations import shown
from .record import BlockStatistics
from .statistics import Floats, line

_ALIKE = 5  # ranges that differ by a larger factor would make flat panels of the smaller ones
_POINT = dict(linestyle='none', marker='.', markeredgewidth=0, alpha=0.55)


def weights_by_channel(weights: Mapping[str, Floats], layer: str, colour: str) -> bytes:
    """One panel a block: its weights (H,) along the hidden channels, and the straight line through them.

    Args:
        weights: By block.
        layer: The layer's name.
    """
    shared = _are_alike(list(weights.values()))
    columns = columns_for(len(weights))
    figure, axes = grid(len(weights), columns, 1.75)
    low, high = _limits(list(weights.values()))
    for ax, (name, values) in zip(axes, weights.items(), strict=True):
        ax.axhline(0, color=LIGHT, lw=0.8, zorder=0)
        ax.plot(values, color=colour, markersize=_point_size(len(values)), **_POINT)
        rise, start, _ = line(values)
        ax.plot([0, len(values) - 1], [start, start + rise], color=LINE, lw=1.2)
        ax.set_title(name)
        ax.set_xlim(-0.02 * len(values), 1.02 * len(values))
        ax.set_xticks([0, len(values) // 2, len(values) - 1])
        ax.set_ylim(*((low, high) if shared else _limits([values])))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel('hidden channel', fontsize=10)
    scale = 'one scale' if shared else 'each panel has its own scale'
    figure.supylabel(f'weight of {layer} ({scale})', fontsize=10)
    return png(figure)


def one_against_other(weights: Mapping[str, tuple[Floats, Floats]], blocks: Sequence[BlockStatistics]) -> bytes:
    """One panel a block: a point a hidden channel, its weight in GL1 and in GL2.

    Args:
        weights: Of GL1 and GL2, (H,) each, by block.
        blocks: Their statistics.
    """
    columns = columns_for(len(weights))
    figure, axes = grid(len(weights), columns, 1.95)
    layers = list(zip(*weights.values(), strict=True))
    shared = [_are_alike(layer) for layer in layers]
    whole = [_limits(layer) for layer in layers]
    for ax, block in zip(axes, blocks, strict=True):
        gl1, gl2 = weights[block.name]
        ax.axhline(0, color=LIGHT, lw=0.8, zorder=0)
        ax.axvline(0, color=LIGHT, lw=0.8, zorder=0)
        ax.plot(gl1, gl2, color=GL1, markersize=_point_size(len(gl1)), **_POINT)
        ax.set_title(f'{block.name}   r = {shown(block.correlation)}')
        ax.set_xlim(*(whole[0] if shared[0] else _limits([gl1])))
        ax.set_ylim(*(whole[1] if shared[1] else _limits([gl2])))
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 4, 5, 10]))  # more would run into each other
        ax.xaxis.set_major_formatter('{x:g}')
        ax.yaxis.set_major_locator(MaxNLocator(4))
    words = ['one scale' if alike else 'each panel has its own scale' for alike in shared]
    figure.supxlabel(f'weight of GL1 ({words[0]})', fontsize=10)
    figure.supylabel(f'weight of GL2 ({words[1]})', fontsize=10)
    return png(figure)


def _limits(weights: Sequence[Floats]) -> tuple[float, float]:
    """Of an axis that shows 0 and all of them, with a margin."""
    low, high = min(0.0, *(w.min() for w in weights)), max(0.0, *(w.max() for w in weights))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _are_alike(weights: Sequence[Floats]) -> bool:
    spans = [float(np.ptp(_limits([w]))) for w in weights]
    return max(spans) <= _ALIKE * min(spans)


def _point_size(count: int) -> float:
    return 3.2 if count <= 1024 else 2.2
