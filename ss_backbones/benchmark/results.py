"""What was found of a contestant at a shape, as a table for the eye and as a row of a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

from .machine import Peaks
from .memory import Alone
from .plan import Plan, Shape
from .timing import quartiles, ratios

MIB = 2**20


@dataclass(frozen=True)
class Result:
    """A contestant at a shape.

    Args:
        name: The contestant's.
        shape: Of the input.
        seconds: Of each round.
        params: Parameters, with those of the rest of a detector.
        macs: Multiply-adds of a step; None for a detector, whose operators cannot be counted.
        returns: In words.
        alone: What it needed with a process to itself.
        peaks: The machine's, measured beside it.
    """

    name: str
    shape: Shape
    seconds: Sequence[float]
    params: int
    macs: int | None
    returns: str
    alone: Alone
    peaks: Peaks

    @property
    def median(self) -> float:
        return quartiles(self.seconds)[1]

    @property
    def images_per_second(self) -> float:
        return self.shape.batch / self.median

    @property
    def share(self) -> float | None:
        """Of the machine's peak rate of multiply-adds."""
        return None if self.macs is None else self.macs / self.median / self.peaks.macs


def table(results: Mapping[str, Result], peers: Sequence[str], plan: Plan) -> str:
    """The results of one shape, and the ratios to the peers."""
    width = max(len(name) for name in results)
    lines = [
        f'  {"":{width}} {"ms":>9} {"images/s":>9} {"GMACs":>9} {"of peak":>7} {"peak MiB":>9} {"before":>7}  returns',
        *(f'  {name:{width}} {_cells(result)}  {result.returns}' for name, result in results.items()),
    ]
    there = [peer for peer in peers if peer in results]
    for name, result in results.items():
        for peer in there if name not in peers else ():
            low, middle, high = ratios(results[peer].seconds, result.seconds)
            line = f'  {name}: {middle:.2f} times as fast as {peer} (quartiles {low:.2f} to {high:.2f})'
            if plan.device == 'cuda' and result.alone.peak and results[peer].alone.peak:
                line += f', with {result.alone.peak / results[peer].alone.peak:.2f} of its peak memory'
            lines.append(line)
    if plan.compiled:
        seconds = ', '.join(f'{name} {result.alone.first_run:.1f} s' for name, result in results.items())
        lines.append(f'  first run, with compiling: {seconds}')
    return '\n'.join(lines)


def _cells(result: Result) -> str:
    macs = '-' if result.macs is None else f'{result.macs / 1e9:.2f}'
    share = '-' if result.share is None else f'{result.share:.0%}'
    memory = ['-' if size is None else f'{size / MIB:.0f}' for size in (result.alone.peak, result.alone.before)]
    return (
        f'{result.median * 1e3:9.1f} {result.images_per_second:9.1f} {macs:>9} {share:>7} {memory[0]:>9} {memory[1]:>7}'
    )


def csv_row(result: Result, peer: Result | None, plan: Plan, machine: str) -> dict[str, object]:
    """A row with the columns of timm's tables of benchmarks and, after them, ours.

    Times are in ms, parameters in millions, and multiply-adds in billions for one image.

    Args:
        result: The contestant's.
        peer: What it is compared to, at the same shape; None where there is nothing.
        plan: How it was run.
        machine: The name.
    """
    mode, alone, peaks = plan.mode, result.alone, result.peaks
    low, middle, high = (round(seconds * 1e3, 3) for seconds in quartiles(result.seconds))
    ratio = [round(r, 3) for r in ratios(peer.seconds, result.seconds)] if peer else [None] * 3
    return {
        'model': result.name,
        f'{mode}_img_size': result.shape.image,
        f'{mode}_samples_per_sec': round(result.images_per_second, 2),
        f'{mode}_step_time': middle,
        f'{mode}_batch_size': result.shape.batch,
        'param_count': round(result.params / 1e6, 3),
        f'{mode}_gmacs': None if result.macs is None else round(result.macs / result.shape.batch / 1e9, 3),
        'step_time_low': low,
        'step_time_high': high,
        'compared_to': peer and peer.name,
        'ratio': ratio[1],
        'ratio_low': ratio[0],
        'ratio_high': ratio[2],
        'peak_memory_mib': _mib(alone.peak),
        'memory_before_mib': _mib(alone.before),
        'peak_share': None if result.share is None else round(result.share, 4),
        'peak_gmacs_per_sec': round(peaks.macs / 1e9, 1),
        'copy_gb_per_sec': round(peaks.bytes / 1e9, 1),
        'compiled': plan.compiled,
        'first_run_s': round(alone.first_run, 2),
        'measured': 'Mask R-CNN' if plan.detector else 'backbone',
        'returns': result.returns,
        'runs': len(result.seconds),
        'device': plan.device,
        'machine': machine,
        'dtype': plan.dtype,
        'torch': torch.__version__,
        'timm': timm.__version__,
    }


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / MIB, 1)


def append_csv(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows, with the names of the columns before the first."""
    new = not file.exists()
    with file.open('x' if new else 'a', newline='') as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
