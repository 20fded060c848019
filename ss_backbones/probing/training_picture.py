"""The picture of how the statistics of each block moved in training."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .depth_pictures import OF_BLOCKS, OF_LAYERS, TITLES
from .drawing import WIDTH, axis_name, give_room, png, ticks
from .record import Snapshot

_BRIGHTEST = 0.92  # of the colour map: the rest cannot be seen on white


def over_training(snapshots: Sequence[Snapshot]) -> bytes:
    """One panel a statistic and layer, with a line a block, coloured by its depth."""
    times, axis = _times(snapshots)
    names = [block.name for block in snapshots[-1].blocks]
    colours = colormaps['viridis'](np.linspace(0, _BRIGHTEST, len(names)))
    figure = Figure(figsize=(WIDTH, 7.2))
    axes = figure.subplots(3, len(OF_LAYERS), sharex=True)
    for row, layer in zip(axes, ('gl1', 'gl2'), strict=False):
        for ax, key in zip(row, OF_LAYERS, strict=True):
            curves = [[getattr(getattr(block, layer), key) for block in shot.blocks] for shot in snapshots]
            _draw(ax, times, curves, colours, f'{layer.upper()}: {TITLES[key][0]}')
    for upper, lower, key in zip(*axes[:2], OF_LAYERS, strict=True):
        upper.sharey(lower)
        upper.autoscale(axis='y')
        give_room(upper, *TITLES[key][1:])
    for ax, key in zip(axes[2], OF_BLOCKS, strict=False):
        curves = [[getattr(block, key) for block in shot.blocks] for shot in snapshots]
        _draw(ax, times, curves, colours, TITLES[key][0])
        give_room(ax, *TITLES[key][1:])
    for ax in axes[2, len(OF_BLOCKS) :]:
        ax.remove()
    for ax in (*axes[2, : len(OF_BLOCKS)], *axes[1, len(OF_BLOCKS) :]):
        ax.tick_params(labelbottom=True)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    scale = ScalarMappable(BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names)), ListedColormap(colours))
    bar = figure.colorbar(scale, ax=figure.axes, fraction=0.02, aspect=50, label=axis_name(names))
    places, labels = ticks(names, 26)
    bar.set_ticks(places, labels=labels)
    bar.minorticks_off()
    figure.supxlabel(axis, fontsize=10)
    return png(figure)


def _times(snapshots: Sequence[Snapshot]) -> tuple[list[int], str]:
    epochs = [shot.epoch for shot in snapshots if shot.epoch is not None]
    if len(set(epochs)) == len(snapshots):
        return epochs, 'epoch'
    return list(range(1, len(snapshots) + 1)), 'checkpoint, in the order of the list above'


def _draw(ax: Axes, times: list[int], curves: list[list[float]], colours: np.ndarray, title: str) -> None:
    """Draw ``curves``, by time and by block."""
    for values, colour in zip(zip(*curves, strict=True), colours, strict=True):
        ax.plot(times, values, color=colour, lw=1.1, marker='o' if len(times) <= 12 else None, markersize=2.5)
    ax.set_title(title)
    ax.grid(axis='y', color='0.93', lw=0.6)
