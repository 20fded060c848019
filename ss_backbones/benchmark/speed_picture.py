"""The picture of what the benchmark wrote as CSV: reading the rows, who is compared with whom, and the bars."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import DataError
from .figures import new_figure
from .names import is_own

OWN, PEER = '#0072B2', '#E69F00'  # of Okabe and Ito's palette, which colour-blind people can tell apart
LIGHT = 0.45  # opacity
RATIOS = ['ratio', 'ratio_low', 'ratio_high']
NUMBERS = [*RATIOS, 'peak_memory_mib', 'memory_before_mib']
# what makes rows comparable: all that a speed depends on
CONDITIONS = ['input', 'mode', 'measured', 'dtype', 'compiled', 'device', 'machine', 'torch', 'timm']
MODES = {'infer': 'inference', 'train': 'training step'}
ORIGIN = 'expected a file of ss-backbones benchmark --csv'


def read(file: Path) -> pd.DataFrame:
    """The rows of a file, checked, each with what its mode-dependent columns hold as 'mode', 'speed' and 'input'.

    Where a row is from is its 'place'.

    Raises:
        DataError: It is no such file; the text says what is wrong with it.
    """
    try:
        table = pd.read_csv(file, dtype=str)
    except pd.errors.EmptyDataError:
        raise DataError(f'{file} is empty; {ORIGIN}.') from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f'{file} cannot be read as CSV: {error}.') from error
    mode = next((mode for mode in MODES if f'{mode}_samples_per_sec' in table), 'infer')
    names = {f'{mode}_samples_per_sec': 'speed', f'{mode}_batch_size': 'batch', f'{mode}_img_size': 'size'}
    filled = ['model', *names.values(), *CONDITIONS[2:]]
    table = table.rename(columns=names)
    if missing := [column for column in (*filled, 'compared_to', *NUMBERS) if column not in table]:
        own = {value: key for key, value in names.items()}
        raise DataError(f'{file} has no column {", ".join(own.get(name, name) for name in missing)}; {ORIGIN}.')
    if table.empty:
        raise DataError(f'{file} has no rows; {ORIGIN}.')
    table['place'] = [f'{file}, line {line}' for line in table.index + 2]
    for column in filled:
        _refuse(table, table[column].isna(), f'{column} is empty')
    for column in ('speed', *NUMBERS):
        numbers = pd.to_numeric(table[column], errors='coerce').replace([np.inf, -np.inf], np.nan)
        _refuse(table, numbers.isna() & table[column].notna(), f'{column} is {{{column}!r}}, expected a number')
        table[column] = numbers
    empty = table[['compared_to', *RATIOS]].isna().sum(axis=1)
    names = ', '.join(['compared_to', *RATIOS])
    _refuse(table, ~empty.isin([0, 1 + len(RATIOS)]), f'expected {names} all filled, or none of them')
    sizes = table['size'].where(table['size'].str.contains('x'), table['size'] + 'x' + table['size'])
    return table.assign(mode=mode, input=table['batch'] + ' x ' + sizes.str.replace('x', ' x '))


def _refuse(table: pd.DataFrame, wrong: pd.Series, problem: str) -> None:
    for row in table[wrong].to_dict('records'):
        raise DataError(f'{row["place"]}: {problem.format_map(row)}.')


def grouped(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows that are comparable, with what they are compared to as 'peer', which is empty where that is nothing.

    A peer, which itself is compared to nothing, is with those compared to it.

    Raises:
        DataError: A candidate is in a group twice, and neither speed is the true one.
    """
    compared = pd.MultiIndex.from_frame(table[[*CONDITIONS, 'compared_to']].dropna())
    is_peer = table['compared_to'].isna() & pd.MultiIndex.from_frame(table[[*CONDITIONS, 'model']]).isin(compared)
    table = table.assign(peer=table['compared_to'].where(~is_peer, table['model']).fillna(''))
    for _, same in table.groupby([*CONDITIONS, 'peer', 'model'], sort=False):
        if len(same) > 1:
            raise DataError(
                f'{same["model"].iloc[0]} was measured twice in the same way ({same["place"].iloc[0]}, and '
                f'{same["place"].iloc[1]}); leave one of them out.'
            )
    return [rows for _, rows in table.groupby([*CONDITIONS, 'peer'], sort=False)]


def draw(groups: list[pd.DataFrame]) -> Figure:
    """A row of panels for each group: speed, and peak memory."""
    bars = [len(rows) for rows in groups]
    height = sum(0.36 * n + 1.15 for n in bars)
    figure, axes = new_figure(len(groups), 2, (9, height), height_ratios=[n + 2 for n in bars])
    for (speed, memory), rows in zip(axes, groups, strict=True):
        colours = [OWN if is_own(name) else PEER for name in rows['model']]
        _draw_speed(speed, rows, colours)
        _draw_memory(memory, rows, colours)
        speed.set_title(_title(rows.iloc[0]), loc='left', fontsize=10, fontweight='bold')
        memory.tick_params(labelleft=False)
        for ax in (speed, memory):
            ax.set_yticks(range(len(rows)), rows['model'])
            ax.set_ylim(len(rows) - 0.4, -0.6)  # the first candidate on top
            ax.tick_params(axis='y', length=0)
    return figure


def _title(row: Mapping[str, str]) -> str:
    words = [row['input'], MODES[row['mode']], row['dtype']]
    words += ['compiled'] * (row['compiled'] == 'True') + [row['measured']] * (row['measured'] != 'backbone')
    return f'{", ".join(words)}\n{row["machine"]}, torch {row["torch"]}, timm {row["timm"]}'


def _draw_speed(ax: Axes, rows: pd.DataFrame, colours: list[str]) -> None:
    """Times as fast as the peer, or images a second where there is none."""
    peer, speeds = rows['peer'].iloc[0], [f'{speed:.3g}' for speed in rows['speed']]
    if peer:
        values = rows['ratio'].fillna(1.0)
        error = [values - rows['ratio_low'].fillna(1.0), rows['ratio_high'].fillna(1.0) - values]
        words = [f'{value:.2f} x   ({speed}/s)' for value, speed in zip(values, speeds, strict=True)]
        whiskers = {'xerr': np.clip(error, 0, None), 'ecolor': 'black', 'capsize': 2, 'error_kw': {'lw': 1}}
    else:
        values, words, whiskers = rows['speed'], speeds, {}
    bars = ax.barh(range(len(rows)), values, color=colours, height=0.7, **whiskers)
    ax.bar_label(bars, words, padding=5, fontsize=9)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.5)  # room for the figures beside the bars
    ax.set_xlabel(f'times as fast as {peer}\n(images a second)' if peer else 'images a second', fontsize=9)


def _draw_memory(ax: Axes, rows: pd.DataFrame, colours: list[str]) -> None:
    places, peak = range(len(rows)), rows['peak_memory_mib'].fillna(0)
    before = rows['memory_before_mib'].fillna(0)
    ax.barh(places, before, color=colours, height=0.7, alpha=LIGHT)
    bars = ax.barh(places, peak - before, left=before, color=colours, height=0.7)
    ax.bar_label(bars, [f'{size:.0f}' if size else 'not measured' for size in peak], padding=5, fontsize=9)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.2)
    what = 'allocated' if rows['device'].iloc[0] == 'cuda' else 'of the process'
    ax.set_xlabel(f'peak memory {what}, MiB\n(light: before the first run)', fontsize=9)
