"""The picture of a network's settings: what each block is like and costs, over the outline of its plain twin."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from .blocks import BlockRow, Cost
from .figures import new_figure

# of Okabe and Ito's palette, which colour-blind people can tell apart
ACTIVATIONS = {'GELU': '#0072B2', 'ReLU': '#E69F00', 'DFC': '#009E73'}
OTHER = '0.6'  # whatever activation else
MIXERS = ('#56B4E9', '#CC79A7', '#D55E00', '#009E73', '0.6')  # one a mixer, in the order in which they come
RAMP = LinearSegmentedColormap.from_list('ramp', ['white', '#D55E00'])
STEEPEST = 2.0  # the end of the paper's steepest ramp, at which the colour is full
TWIN = dict(color='0.25', lw=1.1)
WIDTH = 7.5  # inches: 900 pixels
NUMBERED = 26  # blocks up to which each has its figures
SPACIOUS = 16  # blocks up to which these may be long and large
LINE = 130  # characters of the smallest print
_BAR = 0.78

Bars = Sequence[float | None]


def draw(
    rows: Sequence[BlockRow],
    plain_rows: Sequence[BlockRow],
    costs: Sequence[Cost],
    outside: Cost,
    total: Cost,
    title: str,
    machine: str,
) -> Figure:
    """The picture.

    Args:
        rows: The blocks.
        plain_rows: Those of the plain twin.
        costs: Of each block.
        outside: Of what is outside of the blocks.
        total: Of the network.
        title: The network and the image.
        machine: What the times hold for; empty where there are none.
    """
    mixers = list(dict.fromkeys(row.mixer for row in rows))
    colours = [ACTIVATIONS.get(row.act, OTHER) for row in rows]
    of_mixers = dict(zip(mixers, MIXERS, strict=False))
    panels: list[tuple[float, Callable[[Axes], None]]] = [
        (1.15, lambda ax: _draw_macs(ax, costs, outside, total, colours)),
        (0.9, lambda ax: _draw_mlp(ax, rows, plain_rows, colours)),
        (0.65, lambda ax: _draw_attention(ax, rows, plain_rows, [of_mixers[row.mixer] for row in rows])),
        (0.4, lambda ax: _draw_ramps(ax, rows)),
    ]
    if machine:
        panels.insert(1, (1.15, lambda ax: _draw_times(ax, costs, outside, total, colours)))
    heights = [height for height, _ in panels]
    size = (WIDTH, sum(heights) + 0.36 * len(panels) + 1.0)
    figure, axes = new_figure(len(panels), 1, size, height_ratios=heights, sharex=True)
    with rc_context({'hatch.linewidth': 0.8}):
        for ax, (_, draw_panel) in zip(axes[:, 0], panels, strict=True):
            draw_panel(ax)
            _mark_stages(ax, rows)
        _name_blocks(axes[-1, 0], rows)
        figure.legend(
            handles=_keys(rows, of_mixers if len(mixers) > 1 else {}),
            loc='outside lower left',
            ncols=6,
            frameon=False,
            fontsize=8.5,
            handlelength=1.6,
            columnspacing=1.4,
            title='\n'.join(textwrap.wrap(f'times: {machine}', LINE)) if machine else None,
            title_fontsize=7.5,
            alignment='left',
        )
    figure.suptitle(title, x=0.01, ha='left', fontsize=11, fontweight='bold')
    return figure


def _draw_macs(ax: Axes, costs: Sequence[Cost], outside: Cost, total: Cost, colours: Sequence[str]) -> None:
    values, plain = [cost.macs / 1e6 for cost in costs], [cost.plain_macs / 1e6 for cost in costs]
    _bars(ax, values, plain, colours, [_percent(cost.macs_ratio) for cost in costs])
    whole = f'{total.macs / 1e9:.2f} of {total.plain_macs / 1e9:.2f} G, {_percent(total.macs_ratio)}'
    _title(ax, 'multiply-adds, millions', f'whole network {whole}; outside of the blocks {outside.macs / 1e9:.2f} G')


def _draw_times(ax: Axes, costs: Sequence[Cost], outside: Cost, total: Cost, colours: Sequence[str]) -> None:
    values, plain = [cost.seconds * 1e3 for cost in costs], [cost.plain_seconds * 1e3 for cost in costs]
    _bars(ax, values, plain, colours, [_percent(cost.time_ratio) for cost in costs])
    whole = f'{total.seconds * 1e3:.1f} of {total.plain_seconds * 1e3:.1f} ms, {_percent(total.time_ratio)}'
    _title(ax, 'time, milliseconds', f'whole network {whole}; outside of the blocks {outside.seconds * 1e3:.1f} ms')


def _draw_mlp(ax: Axes, rows: Sequence[BlockRow], plain: Sequence[BlockRow], colours: Sequence[str]) -> None:
    words = ['' if row.hidden is None else str(row.hidden) for row in rows]
    _bars(ax, *([_share(row.hidden, row) for row in each] for each in (rows, plain)), colours, words)
    for place, row in enumerate(rows):
        if row.mlp_bypass:
            share = row.mlp_bypass / row.dim
            _hatch(ax, place, row.hidden / row.dim - share, share)
    more = 'hatched: bypass the second linear layer' * any(row.mlp_bypass for row in rows)
    _title(ax, "MLP: hidden channels, over the block's", more)


def _draw_attention(ax: Axes, rows: Sequence[BlockRow], plain: Sequence[BlockRow], colours: Sequence[str]) -> None:
    widths = [_share(row.attention_width, row) for row in rows]
    words = ['' if row.heads is None else '{} x {}'.format(*row.heads) for row in rows]
    if len(rows) > SPACIOUS:
        words = [str(row.attention_width or '') for row in rows]
    _bars(ax, widths, [_share(row.attention_width, row) for row in plain], colours, words)
    for place, (row, width) in enumerate(zip(rows, widths, strict=True)):
        if row.token_bypass:
            _hatch(ax, place, width * (1 - row.token_bypass), width * row.token_bypass)
    hatched = any(row.token_bypass for row in rows)
    more = 'hatched: tokens that bypass the output projection' * hatched
    ax.yaxis.set_major_locator(MultipleLocator(0.5))
    _title(ax, "attention: channels of all heads, over the block's", more)


def _draw_ramps(ax: Axes, rows: Sequence[BlockRow]) -> None:
    """A cell a block, in which the ramp rises from the bottom to the top."""
    top = max(STEEPEST, *(row.ramp for row in rows))
    rise = np.linspace(0, 1, 64)[:, None]
    for place, row in enumerate(rows):
        box = (place - _BAR / 2, place + _BAR / 2, 0, 1)
        ax.imshow(rise * row.ramp, cmap=RAMP, vmin=0, vmax=top, extent=box, origin='lower', aspect='auto', zorder=2)
        ax.bar(place, 1, _BAR, color='none', edgecolor='0.75', lw=0.6, zorder=3)
        if len(rows) <= NUMBERED:
            text = f'{row.ramp:.2f}'.rstrip('0').rstrip('.') if row.ramp else '-'
            ax.text(place, 0.5, text, ha='center', va='center', fontsize=8 if len(rows) <= SPACIOUS else 6.5, zorder=4)
    ax.set_ylim(-0.02, 1.02)  # with the edges
    ax.set_yticks([])
    ax.spines[['left', 'bottom']].set_visible(False)
    held = {'paper': 'a fixed tensor', 'bias': 'in the biases', 'none': 'in no bias'}
    ways = [word for word in held if any(row.ramp and row.ramp_as == word for row in rows)]
    _title(ax, 'ramp, where it ends', '; '.join(f'{word!r}: {held[word]}' for word in ways) or 'there is none')


def _bars(ax: Axes, values: Bars, plain: Bars, colours: Sequence[str], words: Sequence[str]) -> None:
    """Bars, the outline of the plain twin's, and words above what is higher."""
    places = np.arange(len(values))
    heights, outline = ([value or 0 for value in each] for each in (values, plain))
    ax.bar(places, heights, _BAR, color=colours, zorder=2)
    ax.bar(places, outline, _BAR, color='none', edgecolor=TWIN['color'], lw=TWIN['lw'], zorder=3)
    highest = max(*heights, *outline)
    if len(values) <= NUMBERED:
        size = 7.5 if len(values) <= SPACIOUS else 6
        for place, word in zip(places, words, strict=True):
            top = max(heights[place], outline[place]) + 0.03 * highest
            ax.text(place, top, word, ha='center', va='bottom', fontsize=size)
    ax.set_ylim(0, 1.2 * highest or 1)
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 4, 5, 10]))
    ax.grid(axis='y', color='0.92', lw=0.8, zorder=0)
    ax.set_axisbelow(True)


def _hatch(ax: Axes, place: int, bottom: float, height: float) -> None:
    ax.bar(place, height, _BAR, bottom, color='none', edgecolor='white', hatch='////', lw=0, zorder=2.5)


def _title(ax: Axes, what: str, more: str) -> None:
    ax.set_title(what, loc='left', fontsize=9, fontweight='bold')
    ax.set_title(more, loc='right', fontsize=8, color='0.35')


def _mark_stages(ax: Axes, rows: Sequence[BlockRow]) -> None:
    ax.tick_params(axis='x', length=0)
    ax.set_xlim(-0.6, len(rows) - 0.4)
    for place in range(1, len(rows)):
        if rows[place].stage != rows[place - 1].stage:
            ax.axvline(place - 0.5, color='0.6', lw=0.8, linestyle=':', zorder=1)


def _name_blocks(ax: Axes, rows: Sequence[BlockRow]) -> None:
    step = -(-len(rows) // NUMBERED)
    ax.set_xticks(range(0, len(rows), step), [row.short_name for row in rows[::step]], fontsize=8)
    staged = len({row.stage for row in rows}) > 1
    ax.set_xlabel('stage.block' if staged else 'block', fontsize=8.5)


def _keys(rows: Sequence[BlockRow], mixers: dict[str, str]) -> list[Patch]:
    acts = dict.fromkeys(row.act or 'another activation' for row in rows)
    keys: list[Patch] = [Patch(color=ACTIVATIONS.get(act, OTHER), label=act) for act in acts]
    keys += [Patch(color=colour, label=f'mixer: {mixer}') for mixer, colour in mixers.items()]
    keys.append(Patch(facecolor='none', edgecolor=TWIN['color'], lw=TWIN['lw'], label='the plain twin'))
    if any(row.mlp_bypass or row.token_bypass for row in rows):
        keys.append(Patch(facecolor='0.6', edgecolor='white', hatch='////', lw=0, label='bypass'))
    return keys


def _percent(ratio: float | None) -> str:
    return '' if ratio is None else f'{ratio:.0%}'


def _share(channels: int | None, row: BlockRow) -> float | None:
    return None if channels is None else channels / row.dim
