"""What was found of a candidate at a shape, as a table for the eye and as a row of a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch

from ..errors import OutputError
from ..tables import print_table
from .machine import Peaks
from .memory import Alone
from .plan import Plan, Shape

MIB = 2**20
BUSY = 0.1  # of the processors in other processes: from here on it is said


def quartiles(values: Sequence[float]) -> list[float]:
    """The three quartiles; the middle one is the median."""
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def ratios(slower: Sequence[float], faster: Sequence[float]) -> list[float]:
    """The quartiles of how many times as fast one was as the other, round by round."""
    return quartiles(np.divide(slower, faster))


@dataclass(frozen=True)
class Result:
    """A candidate at a shape.

    Args:
        name: The candidate's.
        shape: Of the input.
        seconds: Of each round.
        params: Parameters, with those of the rest of a detector.
        macs: Multiply-adds of a step; None for a detector, whose operators cannot be counted.
        returns: In words.
        alone: What it needed with a process to itself.
        peaks: The machine's, measured beside it.
        busy: The part of all processors' time that other processes had during the rounds, if it is known.
    """

    name: str
    shape: Shape
    seconds: Sequence[float]
    params: int
    macs: int | None
    returns: str
    alone: Alone
    peaks: Peaks
    busy: float | None = None

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


def rounded(value: float | None, digits: int, unit: float = 1) -> float | None:
    """For a file; None stays."""
    return None if value is None else round(value / unit, digits)


def print_results(results: Mapping[str, Result], peers: Sequence[str], plan: Plan) -> None:
    """The results of one shape, the ratios to the peers, and the state of the machine."""
    columns = {'': '', 'ms': '.1f', 'images/s': '.1f', 'GMACs': '.2f', 'of peak': '.0%', 'peak MiB': '.0f'}
    rows = []
    for name, r in results.items():
        memory = (rounded(r.alone.peak, 0, MIB), rounded(r.alone.before, 0, MIB))
        rows.append((name, r.median * 1e3, r.images_per_second, rounded(r.macs, 9, 1e9), r.share, *memory, r.returns))
    print_table(columns | {'before': '.0f', 'returns': ''}, rows)
    there = [peer for peer in peers if peer in results]
    for name, result in results.items():
        for peer in there if name not in peers else ():
            low, middle, high = ratios(results[peer].seconds, result.seconds)
            line = f'  {name}: {middle:.2f} times as fast as {peer} (quartiles {low:.2f} to {high:.2f})'
            if plan.device == 'cuda' and result.alone.peak and results[peer].alone.peak:
                line += f', with {result.alone.peak / results[peer].alone.peak:.2f} of its peak memory'
            print(line)
    if plan.compiled:
        seconds = ', '.join(f'{name} {result.alone.first_run:.1f} s' for name, result in results.items())
        print(f'  first run, with compiling: {seconds}')
    one = next(iter(results.values()))
    print(f'  the machine: {one.peaks}')
    if one.busy is not None and one.busy >= BUSY:
        print(f'  it was busy: {one.busy:.0%} of its processors were with other processes, so the times are too long')


def csv_row(result: Result, peer: Result | None, plan: Plan, machine: str) -> dict[str, object]:
    """A row with the columns of timm's tables of benchmarks and, after them, ours.

    Times are in ms, parameters in millions, and multiply-adds in billions for one image.

    Args:
        result: The candidate's.
        peer: What it is compared to, at the same shape; None where there is nothing.
        plan: How it was run.
        machine: The name.
    """
    mode, alone, peaks = plan.mode, result.alone, result.peaks
    low, middle, high = (round(seconds * 1e3, 3) for seconds in quartiles(result.seconds))
    slower, ratio, faster = (rounded(r, 3) for r in (ratios(peer.seconds, result.seconds) if peer else [None] * 3))
    return {
        'model': result.name,
        f'{mode}_img_size': result.shape.image,
        f'{mode}_samples_per_sec': round(result.images_per_second, 2),
        f'{mode}_step_time': middle,
        f'{mode}_batch_size': result.shape.batch,
        'param_count': round(result.params / 1e6, 3),
        f'{mode}_gmacs': rounded(result.macs, 3, result.shape.batch * 1e9),
        'step_time_low': low,
        'step_time_high': high,
        'compared_to': peer and peer.name,
        'ratio': ratio,
        'ratio_low': slower,
        'ratio_high': faster,
        'peak_memory_mib': rounded(alone.peak, 1, MIB),
        'memory_before_mib': rounded(alone.before, 1, MIB),
        'peak_share': rounded(result.share, 4),
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
        'busy_share': rounded(result.busy, 3),
    }


def write_csv(file: Path, rows: Sequence[Mapping[str, object]], more: bool = False) -> None:
    """Write rows under the names of their columns into a new file, or ``more`` of them into one that was written so.

    Raises:
        OutputError: The file cannot be written, or is there although it should be new.
    """
    try:
        with file.open('a' if more else 'x', newline='') as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            if not more:
                writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(f'{file} cannot be written ({error.strerror}).') from error
