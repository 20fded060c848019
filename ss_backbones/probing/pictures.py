"""The pictures of a probe: single weights, statistics and distances by depth, and how they moved in training."""

import math
import re
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .observations import Distances, shown
from .reading import Series
from .record import BlockStatistics, Snapshot
from .statistics import Floats, line

# of Okabe and Ito's palette, which colour-blind people can tell apart
_GL1, _GL2, _OF_BLOCK, _LINE, _LIGHT = '#0072B2', '#D55E00', '#009E73', 'black', '0.75'
_WIDTH, _PANEL_WIDTH = 12.6, 4.2  # of all pictures, and at most of a panel, inches
_COLUMNS = 6
_DPI = 110
_LEAST_SPAN = 0.1  # of a vertical axis, so that rounding does not fill it
_ALIKE = 5  # ranges that differ by a larger factor would make flat panels of the smaller ones
_NUMBERED = 16  # blocks up to which the distances are written into the map
_DARK = 0.6  # distances, as a share of the largest, from which a map's number is written in black
_BRIGHTEST = 0.92  # of the colour map: the rest cannot be seen on white
_LARGE, _PALETTE = 300_000, 128  # a picture of more bytes, such as a cloud of points, keeps so many colours
_POINT = dict(linestyle='none', marker='.', markeredgewidth=0, alpha=0.55)
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
_Titled = dict[str, tuple[str, float, float]]  # a statistic's title, and the range that its numbers can have
_OF_LAYERS: _Titled = {
    'sparsity': ('sparsity', 0, 1),
    'effective_share': ('effective share', 0, 1),
    'slope': ('slope', -math.inf, math.inf),
    'balance': ('balance', -1, 1),
    'size': ('size', 0, math.inf),
}
_OF_BLOCKS: _Titled = {
    'gate_swing': ('gate swing', 0, 1),
    'pass_through': ('pass-through', 0, 1),
    'correlation': ('correlation GL1, GL2', -1, 1),
}


def draw(series: Series, distances: Mapping[str, Distances]) -> dict[str, bytes]:
    """All pictures as PNG files, by name.

    Args:
        series: A probed training.
        distances: Between the blocks, by layer.
    """
    blocks, snapshots = series.record.last.blocks, series.record.snapshots
    with style.context(['default', _STYLE]):  # whatever the user's own is
        figures = {
            'gl1_weights.png': _weights_by_channel({k: gl1 for k, (gl1, _) in series.weights.items()}, 'GL1', _GL1),
            'gl2_weights.png': _weights_by_channel({k: gl2 for k, (_, gl2) in series.weights.items()}, 'GL2', _GL2),
            'statistics.png': _statistics_by_depth(blocks),
            'gl1_gl2.png': _one_against_other(series.weights, blocks),
        }
        if len(blocks) > 1:
            figures['distances.png'] = _distance_maps([block.name for block in blocks], distances)
        if len(snapshots) > 1:
            figures['training.png'] = _over_training(snapshots)
        return {name: _png(figure) for name, figure in figures.items()}


def _weights_by_channel(weights: Mapping[str, Floats], layer: str, colour: str) -> Figure:
    """One panel a block: its weights (H,) along the hidden channels, and the straight line through them."""
    figure, axes = _grid(len(weights), 1.75)
    limits, scale = _axis_limits(list(weights.values()))
    for ax, (name, values), limit in zip(axes, weights.items(), limits, strict=True):
        count = len(values)
        ax.axhline(0, color=_LIGHT, lw=0.8, zorder=0)
        ax.plot(values, color=colour, markersize=_point_size(count), **_POINT)
        rise, start, _ = line(values)
        ax.plot([0, count - 1], [start, start + rise], color=_LINE, lw=1.2)
        ax.set(title=name, xlim=(-0.02 * count, 1.02 * count), xticks=[0, count // 2, count - 1], ylim=limit)
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel('hidden channel', fontsize=10)
    figure.supylabel(f'weight of {layer} ({scale})', fontsize=10)
    return figure


def _one_against_other(weights: Mapping[str, tuple[Floats, Floats]], blocks: Sequence[BlockStatistics]) -> Figure:
    """One panel a block: a point a hidden channel, its weight in GL1 and in GL2."""
    figure, axes = _grid(len(weights), 1.95)
    (across, across_scale), (up, up_scale) = (_axis_limits(layer) for layer in zip(*weights.values(), strict=True))
    for ax, block, xlim, ylim in zip(axes, blocks, across, up, strict=True):
        gl1, gl2 = weights[block.name]
        ax.axhline(0, color=_LIGHT, lw=0.8, zorder=0)
        ax.axvline(0, color=_LIGHT, lw=0.8, zorder=0)
        ax.plot(gl1, gl2, color=_GL1, markersize=_point_size(len(gl1)), **_POINT)
        ax.set(title=f'{block.name}   r = {shown(block.correlation)}', xlim=xlim, ylim=ylim)
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 4, 5, 10]))  # more would run into each other
        ax.xaxis.set_major_formatter('{x:g}')
        ax.yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f'weight of GL1 ({across_scale})', fontsize=10)
    figure.supylabel(f'weight of GL2 ({up_scale})', fontsize=10)
    return figure


def _statistics_by_depth(blocks: Sequence[BlockStatistics]) -> Figure:
    """One panel a statistic, with a point a block and layer."""
    names = [block.name for block in blocks]
    figure, axes = _grid(len(_OF_LAYERS) + len(_OF_BLOCKS), 2.3, 4)
    places = np.arange(len(blocks))
    alike = dict(lw=1.2, markersize=3.5 if len(blocks) <= _NUMBERED else 2)
    for ax, key in zip(axes, _OF_LAYERS, strict=False):
        for layer, colour, stroke, marker in (('gl1', _GL1, '-', 'o'), ('gl2', _GL2, '--', 's')):
            look = dict(color=colour, linestyle=stroke, marker=marker, label=layer.upper(), **alike)
            values = _values(blocks, key, layer)
            if key == 'slope':
                ax.errorbar(places, values, _values(blocks, 'slope_error', layer), capsize=2, elinewidth=0.9, **look)
            else:
                ax.plot(places, values, **look)
    for ax, key in zip(axes[len(_OF_LAYERS) :], _OF_BLOCKS, strict=True):
        ax.plot(places, _values(blocks, key), color=_OF_BLOCK, marker='D', label='whole block', **alike)
    for ax, (title, low, high) in zip(axes, (_OF_LAYERS | _OF_BLOCKS).values(), strict=True):
        ax.set_title(title)
        _give_room(ax, low, high)
        ticks, labels = _ticks(names, 14)
        ax.set_xticks(ticks, labels, rotation=90 if max(map(len, _short_names(names))) > 2 else 0)
        ax.set_xlim(-0.5, len(names) - 0.5)
        ax.grid(axis='y', color='0.93', lw=0.6)
        for start in _stage_starts(names):
            ax.axvline(start - 0.5, color=_LIGHT, lw=0.8, linestyle=':', zorder=0)
    handles = [*axes[0].get_legend_handles_labels()[0], *axes[-1].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc='outside upper right', ncols=3)
    figure.supxlabel(_axis_name(names), fontsize=10)
    return figure


def _distance_maps(names: Sequence[str], layers: Mapping[str, Distances]) -> Figure:
    """One map a layer, with the distances between all pairs of blocks; as numbers too where there is room."""
    figure = Figure(figsize=(_WIDTH, 5.6))
    axes = figure.subplots(1, len(layers))
    largest = max(float(found.values.max()) for found in layers.values()) or 1.0
    for ax, (layer, found) in zip(axes, layers.items(), strict=True):
        image = ax.imshow(found.values, cmap='cividis', vmin=0, vmax=largest)
        ax.set(title=f'{layer}: {found} above chance', xlabel=_axis_name(names), ylabel=_axis_name(names))
        ticks, labels = _ticks(names, 26)
        ax.set_xticks(ticks, labels, rotation=90 if len(names) > 12 or names[0].startswith('stages') else 0)
        ax.set_yticks(ticks, labels)
        for start in _stage_starts(names):
            ax.axhline(start - 0.5, color='white', lw=1)
            ax.axvline(start - 0.5, color='white', lw=1)
        for (i, j), value in np.ndenumerate(found.values):
            if i != j and len(names) <= _NUMBERED:
                colour = 'black' if value > _DARK * largest else 'white'
                look = dict(fontsize=7, color=colour, weight='bold' if found.above[i, j] else 'normal')
                ax.text(j, i, f'{value:.2f}'.lstrip('0'), ha='center', va='center', **look)
    figure.colorbar(image, ax=axes, label='Kolmogorov-Smirnov distance', shrink=0.9)
    return figure


def _over_training(snapshots: Sequence[Snapshot]) -> Figure:
    """One panel a statistic and layer, with a line a block, coloured by its depth."""
    names = [block.name for block in snapshots[-1].blocks]
    times, axis = [shot.epoch for shot in snapshots], 'epoch'
    if None in times or len(set(times)) < len(times):
        times, axis = list(range(1, len(times) + 1)), 'checkpoint, in the order of the list above'
    colours = colormaps['viridis'](np.linspace(0, _BRIGHTEST, len(names)))
    figure = Figure(figsize=(_WIDTH, 7.2))
    axes = figure.subplots(3, len(_OF_LAYERS), sharex=True)
    for row, layer, statistics in zip(axes, ('gl1', 'gl2', ''), (_OF_LAYERS, _OF_LAYERS, _OF_BLOCKS), strict=True):
        for ax, (key, (title, *_)) in zip(row, statistics.items(), strict=False):
            curves = np.array([_values(shot.blocks, key, layer) for shot in snapshots])
            for values, colour in zip(curves.T, colours, strict=True):
                ax.plot(times, values, color=colour, lw=1.1, marker='o' if len(times) <= 12 else None, markersize=2.5)
            ax.set_title(f'{layer.upper()}: {title}' if layer else title)
            ax.grid(axis='y', color='0.93', lw=0.6)
    for upper, lower, (_, low, high) in zip(*axes[:2], _OF_LAYERS.values(), strict=True):
        upper.sharey(lower)
        upper.autoscale(axis='y')
        _give_room(upper, low, high)
    for ax, (_, low, high) in zip(axes[2], _OF_BLOCKS.values(), strict=False):
        _give_room(ax, low, high)
    count = len(_OF_BLOCKS)
    for ax in axes[2, count:]:
        ax.remove()
    for ax in (*axes[2, :count], *axes[1, count:]):
        ax.tick_params(labelbottom=True)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    scale = ScalarMappable(BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names)), ListedColormap(colours))
    bar = figure.colorbar(scale, ax=figure.axes, fraction=0.02, aspect=50, label=_axis_name(names))
    places, labels = _ticks(names, 26)
    bar.set_ticks(places, labels=labels)
    bar.minorticks_off()
    figure.supxlabel(axis, fontsize=10)
    return figure


def _values(blocks: Sequence[BlockStatistics], key: str, layer: str = '') -> list[float]:
    return [getattr(getattr(block, layer) if layer else block, key) for block in blocks]


def _grid(count: int, height: float, columns: int = 0) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels in rows of ``height`` inches, the last row as full as can be; and its axes."""
    columns = columns or math.ceil(count / math.ceil(count / _COLUMNS))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(min(_WIDTH, _PANEL_WIDTH * columns), height * rows + 0.6))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def _axis_limits(weights: Sequence[Floats]) -> tuple[list[tuple[float, float]], str]:
    """The range of each panel's axis, with 0 and all weights in it, and in words whether it is the same for all."""

    def limits(weights: Sequence[Floats]) -> tuple[float, float]:
        low, high = min(0.0, *(w.min() for w in weights)), max(0.0, *(w.max() for w in weights))
        margin = 0.06 * (high - low) or 1.0
        return low - margin, high + margin

    each = [limits([w]) for w in weights]
    spans = [high - low for low, high in each]
    if max(spans) > _ALIKE * min(spans):
        return each, 'each panel has its own scale'
    return [limits(weights)] * len(weights), 'one scale'


def _give_room(ax: Axes, low: float, high: float) -> None:
    """Widen the vertical axis so that rounding does not fill it, within the range that its numbers can have."""
    bottom, top = ax.get_ylim()
    more, margin = max(0.0, _LEAST_SPAN - (top - bottom)) / 2, _LEAST_SPAN / 20
    ax.set_ylim(max(bottom - more, low - margin), min(top + more, high + margin))


def _point_size(count: int) -> float:
    return 3.2 if count <= 1024 else 2.2


def _short_names(blocks: Sequence[str]) -> list[str]:
    """'stages.1.blocks.0' is '1.0', and 'blocks.3' is '3'."""
    return ['.'.join(re.findall(r'\d+', name)) for name in blocks]


def _axis_name(blocks: Sequence[str]) -> str:
    return 'stage.block' if blocks[0].startswith('stages') else 'block'


def _ticks(blocks: Sequence[str], most: int) -> tuple[range, list[str]]:
    """Places and names for an axis of blocks, with no more than so many."""
    step = math.ceil(len(blocks) / most)
    return range(0, len(blocks), step), _short_names(blocks)[::step]


def _stage_starts(blocks: Sequence[str]) -> list[int]:
    """Where a stage begins, but for the first."""
    stages = [name.rpartition('blocks.')[0] for name in blocks]
    return [i for i in range(1, len(stages)) if stages[i] != stages[i - 1]]


def _png(figure: Figure) -> bytes:
    """The figure as a PNG file; if that were large, with fewer colours."""
    drawn = BytesIO()
    figure.savefig(drawn, format='png', dpi=_DPI)
    if drawn.tell() <= _LARGE:
        return drawn.getvalue()
    small = BytesIO()
    image = Image.open(drawn).convert('RGB').quantize(_PALETTE, dither=Image.Dither.NONE)
    image.save(small, format='png', optimize=True)
    return small.getvalue()
