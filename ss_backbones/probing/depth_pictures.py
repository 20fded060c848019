"""Pictures over the depth of a network: its statistics, and the distances between its blocks."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import GL1, GL2, LIGHT, WIDTH, axis_name, give_room, grid, png, short_names, stage_starts, ticks
from .observations import Distances
from .record import BlockStatistics

OF_LAYERS = ('sparsity', 'effective_share', 'slope', 'balance', 'size')
OF_BLOCKS = ('gate_swing', 'pass_through', 'correlation')
TITLES = {  # and the range that the numbers can have
    'sparsity': ('sparsity', 0, 1),
    'effective_share': ('effective share', 0, 1),
    'slope': ('slope', -math.inf, math.inf),
    'balance': ('balance', -1, 1),
    'size': ('size', 0, math.inf),
    'gate_swing': ('gate swing', 0, 1),
    'pass_through': ('pass-through', 0, 1),
    'correlation': ('correlation GL1, GL2', -1, 1),
}
_LAYERS = {'gl1': ('GL1', GL1, '-', 'o'), 'gl2': ('GL2', GL2, '--', 's')}
_OF_BLOCK = '#009E73'
_NUMBERED = 16  # blocks up to which the distances are written into the map
_DARK = 0.6  # distances, as a share of the largest, from which a map's number is written in black


def statistics_by_depth(blocks: Sequence[BlockStatistics]) -> bytes:
    """One panel a statistic, with a point a block and layer."""
    names = [block.name for block in blocks]
    figure, axes = grid(len(OF_LAYERS) + len(OF_BLOCKS), 4, 2.3)
    places = np.arange(len(blocks))
    alike = dict(lw=1.2, markersize=3.5 if len(blocks) <= _NUMBERED else 2)
    for ax, key in zip(axes, OF_LAYERS, strict=False):
        for layer, (label, colour, stroke, marker) in _LAYERS.items():
            values = [getattr(getattr(block, layer), key) for block in blocks]
            style = dict(color=colour, linestyle=stroke, marker=marker, label=label, **alike)
            if key == 'slope':
                errors = [getattr(block, layer).slope_error for block in blocks]
                ax.errorbar(places, values, errors, capsize=2, elinewidth=0.9, **style)
            else:
                ax.plot(places, values, **style)
    for ax, key in zip(axes[len(OF_LAYERS) :], OF_BLOCKS, strict=True):
        values = [getattr(block, key) for block in blocks]
        ax.plot(places, values, color=_OF_BLOCK, marker='D', label='whole block', **alike)
    for ax, key in zip(axes, (*OF_LAYERS, *OF_BLOCKS), strict=True):
        title, low, high = TITLES[key]
        ax.set_title(title)
        give_room(ax, low, high)
        _name_blocks(ax, names)
    handles = [*axes[0].get_legend_handles_labels()[0], *axes[-1].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc='outside upper right', ncols=3)
    figure.supxlabel(axis_name(names), fontsize=10)
    return png(figure)


def distance_maps(names: Sequence[str], layers: Mapping[str, Distances]) -> bytes:
    """One map a layer, with the distances between all pairs of blocks.

    Where there is room the distances are written in it, bold if above chance.

    Args:
        names: Of the blocks.
        layers: By the layer's name.
    """
    figure = Figure(figsize=(WIDTH, 5.6))
    axes = figure.subplots(1, len(layers))
    largest = max(float(found.values.max()) for found in layers.values()) or 1.0
    for ax, (layer, found) in zip(axes, layers.items(), strict=True):
        image = ax.imshow(found.values, cmap='cividis', vmin=0, vmax=largest)
        ax.set_title(f'{layer}: {found.pairs_above} of {found.pairs} pairs above chance')
        places, labels = ticks(names, 26)
        ax.set_xticks(places, labels, rotation=90 if len(names) > 12 or names[0].startswith('stages') else 0)
        ax.set_yticks(places, labels)
        ax.set_xlabel(axis_name(names))
        ax.set_ylabel(axis_name(names))
        for start in stage_starts(names):
            ax.axhline(start - 0.5, color='white', lw=1)
            ax.axvline(start - 0.5, color='white', lw=1)
        if len(names) <= _NUMBERED:
            _write_numbers(ax, found, largest)
    figure.colorbar(image, ax=axes, label='Kolmogorov-Smirnov distance', shrink=0.9)
    return png(figure)


def _write_numbers(ax: Axes, found: Distances, largest: float) -> None:
    for (i, j), value in np.ndenumerate(found.values):
        if i != j:
            colour = 'black' if value > _DARK * largest else 'white'
            weight = 'bold' if found.above[i, j] else 'normal'
            ax.text(j, i, f'{value:.2f}'.lstrip('0'), ha='center', va='center', fontsize=7, color=colour, weight=weight)


def _name_blocks(ax: Axes, names: Sequence[str]) -> None:
    places, labels = ticks(names, 14)
    ax.set_xticks(places, labels, rotation=90 if max(map(len, short_names(names))) > 2 else 0)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.grid(axis='y', color='0.93', lw=0.6)
    for start in stage_starts(names):
        ax.axvline(start - 0.5, color=LIGHT, lw=0.8, linestyle=':', zorder=0)
