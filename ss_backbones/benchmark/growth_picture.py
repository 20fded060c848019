"""The picture of how time and memory of the stages grow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from .figures import new_figure, save
from .growth import Curve, exponent

COLOURS = ('#E69F00', '#009E73', '#0072B2', '#CC79A7', '#56B4E9', '#D55E00')  # of Okabe and Ito's palette; one a stage
LINES = (('-', 'o'), ('--', 's'), (':', '^'), ('-.', 'D'))  # one a network
LIGHT = '0.6'

Curves = Mapping[str, Sequence[Curve]]  # by network, then by stage


def draw(panels: Mapping[str, Curves], title: str, out: Path) -> None:
    """Write the picture, with a panel for each quantity; its name, with the unit, is the key.

    Raises:
        OutputError: It cannot be written.
    """
    figure, axes = new_figure(1, len(panels), (4.6 * len(panels), 4.9))
    for ax, (label, curves) in zip(axes[0], panels.items(), strict=True):
        _draw_panel(ax, curves)
        ax.set_title(label, loc='left', fontsize=10, fontweight='bold')
    names = list(next(iter(panels.values())))
    styles = [
        Line2D([], [], color='black', linestyle=line, marker=marker, markersize=4, label=name)
        for name, (line, marker) in zip(names, LINES, strict=False)
    ]
    styles.append(Line2D([], [], color=LIGHT, lw=1, label='slopes of pixels$^1$ and pixels$^2$'))
    figure.legend(handles=styles, loc='outside lower center', ncols=len(styles), frameon=False)
    figure.suptitle(title, x=0.01, ha='left', fontsize=9)
    save(figure, out)


def _draw_panel(ax: Axes, curves: Curves) -> None:
    for of_stages, (line, marker) in zip(curves.values(), LINES, strict=False):
        for curve, colour in zip(of_stages, COLOURS, strict=False):
            ax.plot(*zip(*curve.items(), strict=True), line, marker=marker, color=colour, markersize=4, lw=1.6)
    ax.set(xscale='log', yscale='log', xlabel='image side, pixels')
    sides = sorted({side for of_stages in curves.values() for curve in of_stages for side in curve})
    ax.set_xticks(sides, [str(side) for side in sides], rotation=45)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis='x', which='minor', length=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    ax.grid(which='major', color='0.92', lw=0.8)
    low, high = ax.get_ylim()
    high *= (high / low) ** 0.35  # room for the table above the curves
    for power in (1, 2) if sides else ():  # short lines at the lower right, to compare with
        start, bottom = sides[-1] / 1.7, low * (high / low) ** 0.03
        ax.plot([start, sides[-1]], [bottom, bottom * 1.7 ** (2 * power)], color=LIGHT, lw=1)
    ax.set_ylim(low, high)
    stages = max(len(of_stages) for of_stages in curves.values())
    ax.legend(
        [Line2D([], [], color=colour, lw=3) for colour in COLOURS[:stages]],
        [f'{i + 1}: {_exponents(curves, i)}' for i in range(stages)],
        title=f'stage: exponent over pixels\n({", ".join(curves)})',
        loc='upper left',
        frameon=False,
        title_fontsize=9,
        alignment='left',
    )


def _exponents(curves: Curves, stage: int) -> str:
    found = [exponent(of_stages[stage]) if stage < len(of_stages) else None for of_stages in curves.values()]
    return ', '.join('-' if a is None else f'{a:.2f}' for a in found)
