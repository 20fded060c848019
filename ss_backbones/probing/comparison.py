"""Derived settings beside the paper's, as text."""

from collections.abc import Sequence
from dataclasses import fields

from ..complexity import Complexity
from ..settings import BlockSetting


def table(names: Sequence[str], derived: Sequence[BlockSetting], paper: Sequence[BlockSetting]) -> str:
    """One line a block, with the paper's value in brackets after each."""
    columns = [field.name for field in fields(BlockSetting)]
    rows = [['block', *columns]]
    for name, ours, theirs in zip(names, derived, paper, strict=True):
        rows.append([name, *(f'{_cell(getattr(ours, c))} ({_cell(getattr(theirs, c))})' for c in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ('  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True)) for row in rows)
    return '\n'.join(line.rstrip() for line in lines)


def costs(plain: Complexity, derived: Complexity, paper: Complexity, size: tuple[int, int]) -> str:
    """What the three networks need for one image of so many pixels."""
    lines = [f'For an image of {size[0]} x {size[1]} pixels:']
    for what, cost in (('plain', plain), ('derived', derived), ("the paper's SS", paper)):
        lines.append(f"  {what:<15} {cost}, {cost.macs / plain.macs:.4f} of the plain network's multiply-adds")
    return '\n'.join(lines)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f'{value:.4g}'
