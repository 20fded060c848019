"""The picture of how time and memory of the stages grow, and the exponents in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

COLOURS = ('#E69F00', '#009E73', '#0072B2', '#CC79A7')  # of Okabe and Ito's palette; one a stage
LINES = (('-', 'o'), ('--', 's'), (':', '^'), ('-.', 'D'))  # one a model
LIGHT = '0.6'

# by model, then by stage: the value at each side that was measured
Curves = Mapping[str, Sequence[Mapping[int, float]]]


def exponent(values: Mapping[int, float]) -> float | None:
    """The a of value ~ pixels ** a, by least squares of the logarithms; None with fewer than two sides.

    Args:
        values: By the side of the square image.
    """
    if len(values) < 2:
        return None
    pixels = np.log([side**2 for side in values])
    return float(np.polyfit(pixels, np.log(list(values.values())), 1)[0])


def draw(panels: Mapping[str, Curves], title: str, out: Path) -> None:
    """Write the picture, with a panel for each quantity; its name, with the unit, is the key."""
    plt.rcParams.update({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False})
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4.9), squeeze=False, layout='constrained')
    for ax, (label, curves) in zip(axes[0], panels.items(), strict=True):
        _draw_panel(ax, curves)
        ax.set_title(label, loc='left', fontsize=10, fontweight='bold')
    names = list(next(iter(panels.values())))
    styles = [
        Line2D([], [], color='black', linestyle=line, marker=marker, markersize=4, label=name)
        for name, (line, marker) in zip(names, LINES, strict=False)
    ]
    styles.append(Line2D([], [], color=LIGHT, lw=1, label='slopes of pixels$^1$ and pixels$^2$'))
    figure.legend(handles=styles, loc='outside lower center', ncols=len(styles), frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha='left', fontsize=9)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def _draw_panel(ax: Axes, curves: Curves) -> None:
    stages = max(len(of_stages) for of_stages in curves.values())
    for of_stages, (line, marker) in zip(curves.values(), LINES, strict=False):
        for values, colour in zip(of_stages, COLOURS, strict=False):
            if values:
                ax.plot(*zip(*values.items(), strict=True), line, marker=marker, color=colour, markersize=4, lw=1.6)
    ax.set_xscale('log')
    ax.set_yscale('log')
    sides = sorted({side for of_stages in curves.values() for values in of_stages for side in values})
    ax.set_xticks(sides, [str(side) for side in sides], rotation=45)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis='x', which='minor', length=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    ax.set_xlabel('image side, pixels')
    ax.grid(which='major', color='0.92', lw=0.8)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the table above the curves
    _draw_slopes(ax, sides)
    handles = [Line2D([], [], color=colour, lw=3) for colour in COLOURS[:stages]]
    labels = [f'{i + 1}: {_exponents(curves, i)}' for i in range(stages)]
    ax.legend(
        handles,
        labels,
        title=f'stage: exponent over pixels\n({", ".join(curves)})',
        loc='upper left',
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment='left',
    )


def _exponents(curves: Curves, stage: int) -> str:
    found = [exponent(of_stages[stage]) for of_stages in curves.values()]
    return ', '.join('-' if a is None else f'{a:.2f}' for a in found)


def _draw_slopes(ax: Axes, sides: Sequence[int]) -> None:
    """Short lines at the lower right, to compare with."""
    (low, high), end = ax.get_ylim(), sides[-1]
    start = end / 1.7
    for power in (1, 2):
        bottom = low * (high / low) ** 0.03
        ax.plot([start, end], [bottom, bottom * (end / start) ** (2 * power)], color=LIGHT, lw=1)
    ax.set_ylim(low, high)
