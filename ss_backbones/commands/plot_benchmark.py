"""Draws what tools/benchmark.py wrote as CSV: images a second and peak memory, in one row of two panels.

    python tools/plot_benchmark.py CSV [CSV ...] OUT.png

Speed is given relative to the contestant that the others were compared to, so that it is 1 there, with the quartiles as
whiskers; memory as it was measured, with what was held before the first run in a lighter shade. Only what was measured
alike and compared to the same contestant shares a row; all else gets a row of its own.
"""

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
from ..benchmark.files import check_new
from matplotlib.axes import Axes

OWN, PEER = '#0072B2', '#E69F00'  # of Okabe and Ito's palette, which colour-blind people can tell apart
LIGHT = 0.45  # opacity
RATIOS = ('ratio', 'ratio_low', 'ratio_high')
NUMBERS = (*RATIOS, 'peak_memory_mib', 'memory_before_mib')
WORDS = ('model', 'compared_to', 'dtype', 'device', 'machine', 'measured', 'compiled', 'torch', 'timm')
MODES = {'infer': 'inference', 'train': 'training step'}
Row = Mapping[str, str]


class Group(NamedTuple):
    """What makes rows comparable: all that a speed depends on, and what it is a multiple of."""

    input: str
    mode: str
    measured: str
    dtype: str
    compiled: str
    device: str
    machine: str
    torch: str
    timm: str
    peer: str  # empty where nothing was compared

    @property
    def title(self) -> str:
        words = [self.input, MODES[self.mode], self.dtype]
        words += ['compiled'] * (self.compiled == 'True') + [self.measured] * (self.measured != 'backbone')
        return f'{", ".join(words)}, torch {self.torch}, timm {self.timm}\n{self.machine}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('csv', type=Path, nargs='+', metavar='CSV', help='written by tools/benchmark.py --csv')
    parser.add_argument('out', type=Path, metavar='OUT.png', help='a new file')
    arguments = parser.parse_args()
    try:
        _check_out(arguments.out)
        groups = grouped([row for file in _once(arguments.csv) for row in read(file)])
    except ValueError as error:
        parser.error(f'{error}.')
    draw(groups, arguments.out)
    print(f'{arguments.out}: {len(groups)} row{"s" * (len(groups) > 1)} of panels')


def _once(files: Sequence[Path]) -> Sequence[Path]:
    places = [file.resolve() for file in files]
    for file, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f'{file} is given more than once; give it once')
    return files


def _check_out(out: Path) -> None:
    if out.suffix != '.png':
        raise ValueError(f'{out} does not end in .png; the CSV files come first, the picture last')
    check_new(out)


def read(file: Path) -> list[dict[str, str]]:
    """The rows of a file, checked, each with what its mode-dependent columns hold under 'mode', 'speed' and 'input'.

    Where a row is from is under 'place'.

    Raises:
        ValueError: It is no such file; the text says what is wrong with it.
    """
    try:
        with file.open(newline='', encoding='utf-8') as stream:
            reader = csv.DictReader(stream)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{file} cannot be read as CSV: {error}') from error
    if not columns:
        raise ValueError(f'{file} is empty; expected a file of tools/benchmark.py --csv')
    mode = next((mode for mode in MODES if f'{mode}_samples_per_sec' in columns), 'infer')
    own = [f'{mode}_{name}' for name in ('samples_per_sec', 'batch_size', 'img_size')]
    missing = [column for column in (*own, *WORDS, *NUMBERS) if column not in columns]
    if missing:
        raise ValueError(f'{file} has no column {", ".join(missing)}; expected a file of tools/benchmark.py --csv')
    if not rows:
        raise ValueError(f'{file} has no rows')
    for line, row in enumerate(rows, start=2):
        row['place'] = f'{file}, line {line}'
        if None in row or None in row.values():
            raise ValueError(f'{row["place"]}: there are not as many fields as columns')
        for column in (own[0], *NUMBERS):
            if not _is_number(row[column], empty=column != own[0]):
                raise ValueError(f'{row["place"]}: {column} is {row[column]!r}, expected a number')
        if any(bool(row[column]) != bool(row['compared_to']) for column in RATIOS):
            raise ValueError(f'{row["place"]}: expected compared_to, {", ".join(RATIOS)} all filled, or none of them')
    return [
        {**row, 'mode': mode, 'speed': row[own[0]], 'input': f'{row[own[1]]} x {_size(row[own[2]])}'} for row in rows
    ]


def _is_number(text: str, empty: bool) -> bool:
    if not text:
        return empty
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _size(text: str) -> str:
    return text.replace('x', ' x ') if 'x' in text else f'{text} x {text}'


def grouped(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    """The rows that are comparable; a peer, which itself is compared to nothing, is with those compared to it.

    Raises:
        ValueError: A contestant is in a group twice, and neither speed is the true one.
    """
    compared = {_group(row, row['compared_to']) for row in rows}
    groups: dict[Group, dict[str, Row]] = {}
    for row in rows:
        as_peer = _group(row, row['model'])
        group = as_peer if not row['compared_to'] and as_peer in compared else _group(row, row['compared_to'])
        there = groups.setdefault(group, {})
        if twin := there.get(row['model']):
            raise ValueError(
                f'{row["model"]} was measured twice in the same way ({twin["place"]}, and {row["place"]}); '
                'leave one of them out'
            )
        there[row['model']] = row
    return {group: list(there.values()) for group, there in groups.items()}


def _group(row: Row, peer: str) -> Group:
    return Group(*(row[name] for name in Group._fields[:-1]), peer)


def draw(groups: Mapping[Group, Sequence[Row]], out: Path) -> None:
    """Write the picture."""
    plt.rcParams.update({'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False})
    bars = [len(rows) for rows in groups.values()]
    figure, axes = plt.subplots(
        len(groups),
        2,
        figsize=(9, sum(0.36 * n + 1.15 for n in bars)),
        height_ratios=[n + 2 for n in bars],
        squeeze=False,
        layout='constrained',
    )
    for (speed, memory), (group, rows) in zip(axes, groups.items(), strict=True):
        _draw_speed(speed, rows, group.peer)
        _draw_memory(memory, rows)
        speed.set_title(group.title, loc='left', fontsize=10, fontweight='bold')
        memory.tick_params(labelleft=False)
        for ax in (speed, memory):
            ax.set_yticks(range(len(rows)), [row['model'] for row in rows], fontsize=9)
            ax.set_ylim(len(rows) - 0.4, -0.6)  # the first contestant on top
            ax.tick_params(axis='y', length=0)
            ax.set_xlim(0, ax.get_xlim()[1] * 1.05)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def _colour(row: Row) -> str:
    return PEER if row['model'].startswith(('timm:', 'mmdet:')) else OWN


def _draw_speed(ax: Axes, rows: Sequence[Row], peer: str) -> None:
    """Times as fast as the peer, or images a second where there is none."""
    for place, row in enumerate(rows):
        speed = float(row['speed'])
        value = (float(row['ratio']) if row['ratio'] else 1.0) if peer else speed
        end = value
        if peer and row['ratio']:
            low, end = float(row['ratio_low']), max(value, float(row['ratio_high']))
            ax.errorbar(value, place, xerr=[[max(0.0, value - low)], [end - value]], color='black', capsize=2, lw=1)
        ax.barh(place, value, color=_colour(row), height=0.7)
        text = f'{value:.2f} x   ({speed:.3g}/s)' if peer else f'{speed:.3g}'
        ax.annotate(text, (end, place), xytext=(5, 0), textcoords='offset points', va='center', fontsize=9)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.4)  # room for the figures beside the bars
    ax.set_xlabel(f'times as fast as {peer}\n(images a second)' if peer else 'images a second', fontsize=9)


def _draw_memory(ax: Axes, rows: Sequence[Row]) -> None:
    measured = [row for row in rows if row['peak_memory_mib']]
    for place, row in enumerate(rows):
        if row not in measured:
            ax.annotate('not measured', (0, place), xytext=(5, 0), textcoords='offset points', va='center', fontsize=9)
            continue
        peak, before = float(row['peak_memory_mib']), float(row['memory_before_mib'] or 0)
        ax.barh(place, before, color=_colour(row), height=0.7, alpha=LIGHT)
        ax.barh(place, peak - before, left=before, color=_colour(row), height=0.7)
        ax.annotate(f'{peak:.0f}', (peak, place), xytext=(5, 0), textcoords='offset points', va='center', fontsize=9)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.15)
    what = 'allocated' if rows[0]['device'] == 'cuda' else 'of the process'
    ax.set_xlabel(f'peak memory {what}, MiB\n(light: before the first run)', fontsize=9)


if __name__ == '__main__':
    sys.exit(main())
