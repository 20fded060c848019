"""The picture of what the benchmark wrote as CSV: reading the rows, who is compared with whom, and the bars."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import DataError
from .candidates import is_own
from .figures import new_figure

OWN, PEER = '#0072B2', '#E69F00'  # of Okabe and Ito's palette, which colour-blind people can tell apart
LIGHT = 0.45  # opacity
RATIOS = ('ratio', 'ratio_low', 'ratio_high')
NUMBERS = (*RATIOS, 'peak_memory_mib', 'memory_before_mib')
WORDS = ('model', 'compared_to', 'dtype', 'device', 'machine', 'measured', 'compiled', 'torch', 'timm')
MODES = {'infer': 'inference', 'train': 'training step'}
ORIGIN = 'expected a file of ss-backbones benchmark --csv'
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

    @classmethod
    def of(cls, row: Row, peer: str) -> 'Group':
        return cls(*(row[name] for name in cls._fields[:-1]), peer)

    @property
    def title(self) -> str:
        words = [self.input, MODES[self.mode], self.dtype]
        words += ['compiled'] * (self.compiled == 'True') + [self.measured] * (self.measured != 'backbone')
        return f'{", ".join(words)}, torch {self.torch}, timm {self.timm}\n{self.machine}'


def read(file: Path) -> list[Row]:
    """The rows of a file, checked, each with what its mode-dependent columns hold under 'mode', 'speed' and 'input'.

    Where a row is from is under 'place'.

    Raises:
        DataError: It is no such file; the text says what is wrong with it.
    """
    try:
        with file.open(newline='', encoding='utf-8') as stream:
            reader = csv.DictReader(stream)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f'{file} cannot be read as CSV: {error}.') from error
    if not columns:
        raise DataError(f'{file} is empty; {ORIGIN}.')
    mode = next((mode for mode in MODES if f'{mode}_samples_per_sec' in columns), 'infer')
    speed, batch, size = (f'{mode}_{name}' for name in ('samples_per_sec', 'batch_size', 'img_size'))
    if missing := [column for column in (speed, batch, size, *WORDS, *NUMBERS) if column not in columns]:
        raise DataError(f'{file} has no column {", ".join(missing)}; {ORIGIN}.')
    if not rows:
        raise DataError(f'{file} has no rows; {ORIGIN}.')
    found = []
    for line, row in enumerate(rows, start=2):
        place = f'{file}, line {line}'
        if None in row or None in row.values():
            raise DataError(f'{place}: there are not as many fields as columns.')
        for column in (speed, *NUMBERS):
            if not _is_number(row[column] or '0' * (column != speed)):
                raise DataError(f'{place}: {column} is {row[column]!r}, expected a number.')
        if any(bool(row[column]) != bool(row['compared_to']) for column in RATIOS):
            raise DataError(f'{place}: expected compared_to, {", ".join(RATIOS)} all filled, or none of them.')
        sides = row[size] if 'x' in row[size] else f'{row[size]}x{row[size]}'
        shape = f'{row[batch]} x {sides.replace("x", " x ")}'
        found.append({**row, 'mode': mode, 'speed': row[speed], 'input': shape, 'place': place})
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def grouped(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    """The rows that are comparable; a peer, which itself is compared to nothing, is with those compared to it.

    Raises:
        DataError: A candidate is in a group twice, and neither speed is the true one.
    """
    compared = {Group.of(row, row['compared_to']) for row in rows}
    groups: dict[Group, dict[str, Row]] = {}
    for row in rows:
        as_peer = Group.of(row, row['model'])
        group = as_peer if not row['compared_to'] and as_peer in compared else Group.of(row, row['compared_to'])
        there = groups.setdefault(group, {})
        if twin := there.get(row['model']):
            raise DataError(
                f'{row["model"]} was measured twice in the same way ({twin["place"]}, and {row["place"]}); '
                'leave one of them out.'
            )
        there[row['model']] = row
    return {group: list(there.values()) for group, there in groups.items()}


def draw(groups: Mapping[Group, Sequence[Row]]) -> Figure:
    """A row of panels for each group: speed, and peak memory."""
    bars = [len(rows) for rows in groups.values()]
    height = sum(0.36 * n + 1.15 for n in bars)
    figure, axes = new_figure(len(groups), 2, (9, height), height_ratios=[n + 2 for n in bars])
    for (speed, memory), (group, rows) in zip(axes, groups.items(), strict=True):
        _draw_speed(speed, rows, group.peer)
        _draw_memory(memory, rows)
        speed.set_title(group.title, loc='left', fontsize=10, fontweight='bold')
        memory.tick_params(labelleft=False)
        for ax in (speed, memory):
            ax.set_yticks(range(len(rows)), [row['model'] for row in rows])
            ax.set_ylim(len(rows) - 0.4, -0.6)  # the first candidate on top
            ax.tick_params(axis='y', length=0)
            ax.set_xlim(0, ax.get_xlim()[1] * 1.05)
    return figure


def _colour(row: Row) -> str:
    return OWN if is_own(row['model']) else PEER


def _write(ax: Axes, text: str, end: float, place: int) -> None:
    """Words beside a bar."""
    ax.annotate(text, (end, place), xytext=(5, 0), textcoords='offset points', va='center')


def _draw_speed(ax: Axes, rows: Sequence[Row], peer: str) -> None:
    """Times as fast as the peer, or images a second where there is none."""
    for place, row in enumerate(rows):
        speed = float(row['speed'])
        value = end = float(row['ratio'] or 1.0) if peer else speed
        if peer and row['ratio']:
            low, end = float(row['ratio_low']), max(value, float(row['ratio_high']))
            ax.errorbar(value, place, xerr=[[max(0.0, value - low)], [end - value]], color='black', capsize=2, lw=1)
        ax.barh(place, value, color=_colour(row), height=0.7)
        _write(ax, f'{value:.2f} x   ({speed:.3g}/s)' if peer else f'{speed:.3g}', end, place)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.4)  # room for the figures beside the bars
    ax.set_xlabel(f'times as fast as {peer}\n(images a second)' if peer else 'images a second')


def _draw_memory(ax: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        if not row['peak_memory_mib']:
            _write(ax, 'not measured', 0, place)
            continue
        peak, before = float(row['peak_memory_mib']), float(row['memory_before_mib'] or 0)
        ax.barh(place, before, color=_colour(row), height=0.7, alpha=LIGHT)
        ax.barh(place, peak - before, left=before, color=_colour(row), height=0.7)
        _write(ax, f'{peak:.0f}', peak, place)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.15)
    what = 'allocated' if rows[0]['device'] == 'cuda' else 'of the process'
    ax.set_xlabel(f'peak memory {what}, MiB\n(light: before the first run)')
