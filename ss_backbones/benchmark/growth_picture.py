"""The picture of how time and memory of the stages grow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from .figures import new_figure, save
from .growth import Cells, curve, exponent, stages

COLOURS = ('#E69F00', '#009E73', '#0072B2', '#CC79A7', '#56B4E9', '#D55E00')  # of Okabe and Ito's palette; one a stage
LINES = (('-', 'o'), ('--', 's'), (':', '^'), ('-.', 'D'))  # one a network
LIGHT = '0.6'


def draw(cells: Cells, names: Sequence[str], panels: Mapping[str, str], title: str, out: Path) -> None:
    """Write the picture.

    Args:
        cells: What was measured.
        names: Of the networks.
        panels: Title of each panel, with the unit, and what of the cells it shows; one that would be empty is left out.
        title: Of the picture.
        out: A new PNG file.

    Raises:
        OutputError: It cannot be written.
    """
    panels = {label: column for label, column in panels.items() if any(column in cell for cell in cells.values())}
    figure, axes = new_figure(1, len(panels), (4.6 * len(panels), 4.9))
    for ax, (label, column) in zip(axes[0], panels.items(), strict=True):
        _draw_panel(ax, cells, names, column)
        ax.set_title(label, loc='left', fontsize=10, fontweight='bold')
    styles = [
        Line2D([], [], color='black', linestyle=line, marker=marker, markersize=4, label=Path(name).name)
        for name, (line, marker) in zip(names, LINES, strict=False)
    ]
    styles.append(Line2D([], [], color=LIGHT, lw=1, label='slopes of pixels$^1$ and pixels$^2$'))
    figure.legend(handles=styles, loc='outside lower center', ncols=len(styles), frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha='left', fontsize=9)
    save(figure, out)


def _draw_panel(ax: Axes, cells: Cells, names: Sequence[str], column: str) -> None:
    for name, (line, marker) in zip(names, LINES, strict=False):
        for stage, colour in zip(stages(cells, name), COLOURS, strict=False):
            points = curve(cells, name, stage, column)
            ax.plot(list(points), list(points.values()), line, marker=marker, color=colour, markersize=4, lw=1.6)
    ax.set(xscale='log', yscale='log', xlabel='image side, pixels')
    sides = sorted({side for *_, side in cells})
    ax.set_xticks(sides, [str(side) for side in sides], rotation=45)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis='x', which='minor', length=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    ax.grid(which='major', color='0.92', lw=0.8)
    low, high = ax.get_ylim()
    high *= (high / low) ** 0.35  # room for the table above the curves
    for power in (1, 2):  # short lines at the lower right, to compare with
        start, bottom = sides[-1] / 1.7, low * (high / low) ** 0.03
        ax.plot([start, sides[-1]], [bottom, bottom * 1.7 ** (2 * power)], color=LIGHT, lw=1)
    ax.set_ylim(low, high)
    exponents = {
        stage: [exponent(curve(cells, name, stage, column)) for name in names]
        for stage in sorted({stage for _, stage, _ in cells})
    }
    ax.legend(
        [Line2D([], [], color=colour, lw=3) for colour in COLOURS[: len(exponents)]],
        [f'{i}: {", ".join("-" if a is None else f"{a:.2f}" for a in found)}' for i, found in exponents.items()],
        title='stage: exponent over pixels\n(as below, from the left)',
        loc='upper left',
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment='left',
    )
