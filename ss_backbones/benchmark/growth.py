"""Time and memory of each stage of a network, against the side of the image."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from .candidates import Candidate
from .memory import Failed, explain, in_own_process
from .plan import Plan, Shape
from .progress import progress
from .results import MIB, quartiles, rounded
from .steps import WARM_UP, make_step, rounds

MOST_STAGES = 6  # more than a pyramid has; the blocks of a network without stages are measured by quarters

EXPONENTS = {'time_exponent': 'time_ms', 'saved_exponent': 'saved_mib'}
TIMES = ('time_low_ms', 'time_ms', 'time_high_ms')  # the quartiles

# By network, stage (from 1 on) and side of the image: those of TIMES and 'saved_mib' that could be measured.
Cells = Mapping[tuple[str, int, int], dict[str, float]]


def stages(cells: Cells, name: str) -> list[int]:
    """The stages of a network that were measured."""
    return sorted({stage for network, stage, _ in cells if network == name})


def curve(cells: Cells, name: str, stage: int, column: str) -> dict[int, float]:
    """What was measured of a stage, by the side of the image."""
    points = [(side, cell[column]) for (*of, side), cell in cells.items() if of == [name, stage] and column in cell]
    return dict(sorted(points))


def total(cells: Cells, name: str, column: str) -> dict[int, float]:
    """The sum over the stages of a network, by the side of the image, for the sides where all were measured."""
    curves = [curve(cells, name, stage, column) for stage in stages(cells, name)]
    sides = sorted(set.intersection(*map(set, curves))) if curves else []
    return {side: sum(points[side] for points in curves) for side in sides}


def exponent(values: Mapping[int, float]) -> float | None:
    """The a of value ~ pixels ** a, by least squares of the logarithms; None with fewer than two sides.

    Args:
        values: By the side of the square image.
    """
    if len(values) < 2:
        return None
    return float(np.polyfit(np.log(np.square(list(values))), np.log(list(values.values())), 1)[0])


def rows(cells: Cells, names: Sequence[str], same: Mapping[str, object]) -> list[dict[str, object]]:
    """Of a table, one for each network, stage and side; empty where a measurement was left out.

    Args:
        cells: What was measured.
        names: Of the networks, in order.
        same: Columns that are the same in all rows.
    """
    found = []
    for name, stage, side in sorted(cells, key=lambda key: (names.index(key[0]), *key[1:])):
        cell = cells[name, stage, side]
        found.append(
            {'model': name, 'stage': stage, 'side': side}
            | {column: rounded(cell.get(column), 4) for column in ('time_ms', 'time_low_ms', 'time_high_ms')}
            | {'saved_mib': rounded(cell.get('saved_mib'), 3)}
            | {key: rounded(exponent(curve(cells, name, stage, column)), 3) for key, column in EXPONENTS.items()}
            | dict(same)
        )
    return found


def stage_ends(network: nn.Module) -> list[nn.Module]:
    """The modules with which the stages of a network of the catalog end, or the quarters of its blocks."""
    ends = [part[-1] for part in network.freezable()[1:]]  # the first is the stem
    count = len(ends) if len(ends) <= MOST_STAGES else 4
    return [ends[len(ends) * (i + 1) // count - 1] for i in range(count)]


def clock_stages(model: nn.Module, ends: Sequence[nn.Module], wait: Callable[[], None]) -> list[list[float]]:
    """A list that gets the seconds of each stage in every forward pass from now on, a row a pass.

    Args:
        model: The network; what it does before the first stage counts with that.
        ends: Where its stages end, in the order in which they are run.
        wait: Returns when the device has done all it was given.
    """
    laps: list[list[float]] = []
    last = 0.0

    def start(*_: object) -> None:
        nonlocal last
        laps.append([])
        wait()
        last = time.perf_counter()

    def lap(*_: object) -> None:
        nonlocal last
        wait()
        now = time.perf_counter()
        laps[-1].append(now - last)
        last = now

    model.register_forward_pre_hook(start)
    for end in ends:
        end.register_forward_hook(lap)
    return laps


def saved_by_stage(model: nn.Module, ends: Sequence[nn.Module], x: Tensor) -> list[int]:
    """Bytes that each stage keeps for the backward pass, beside the parameters.

    A storage counts whole, because it is kept whole, and once: with the stage that was first to keep it.

    Args:
        model: A network in training mode.
        ends: Where its stages end, in the order in which they are run.
        x: The input.
    """
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found, seen = [0], set[int]()

    def pack(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in own | seen:
            seen.add(storage)
            found[-1] += tensor.untyped_storage().nbytes()
        return tensor  # which keeps the storage alive, so that no other gets its address

    handles = [end.register_forward_hook(lambda *_: found.append(0)) for end in ends]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            kept = model(x)  # bound to a name, or the first stages' tensors would be gone before the last are made
    finally:
        for handle in handles:
            handle.remove()
    del kept
    return found[: len(ends)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def saved_at(candidate: Candidate, sides: Sequence[int], device: str) -> Iterator[list[int]]:
    """:func:`saved_by_stage` at every side; to be called in a process that may run out of memory."""
    for side in sides:
        torch.manual_seed(0)
        model = candidate.build(Shape(1, side, side)).to(device).train()
        yield saved_by_stage(model, stage_ends(model), torch.randn(1, 3, side, side, device=device))


def measure(candidates: Sequence[Candidate], sides: Sequence[int], plan: Plan, count: int, cells: Cells) -> list[str]:
    """Measure the memory of each network, then the times in turn, the small sides first.

    Args:
        candidates: Own networks of the catalog.
        sides: Of the images, rising.
        plan: How the networks are timed.
        count: Rounds to time.
        cells: Gets what has been measured.

    Returns:
        What could not be measured, and why. What has failed at a side is not tried at larger ones.
    """
    failed = []
    with progress('growth', len(sides) * (len(candidates) + 1)) as going_to:
        for candidate in candidates:
            everything = in_own_process(partial(saved_at, candidate, sides, plan.device))
            try:
                for side in sides:
                    going_to(f'memory of {candidate.name}, side {side}')
                    for stage, size in enumerate(next(everything), start=1):
                        cells[candidate.name, stage, side]['saved_mib'] = size / MIB
            except Failed as error:
                failed.append(f'memory of {candidate.name} from side {side} on is left out: {error}')
        to_time = list(candidates)
        for side in sides:
            going_to(f'times, side {side}')
            runs, laps = {}, {}
            for candidate in list(to_time):
                try:
                    model, run = make_step(candidate, Shape(1, side, side), plan)
                    for _ in range(WARM_UP):
                        run()
                    runs[candidate.name], laps[candidate.name] = run, clock_stages(model, stage_ends(model), plan.wait)
                except Exception as error:  # a network may fail in any way, and the others are still to be measured
                    to_time.remove(candidate)
                    failed.append(f'time of {candidate.name} from side {side} on is left out: {explain(error)}')
            for _ in rounds(runs, count, plan.wait):
                pass
            for name, table in laps.items():
                for stage, seconds in enumerate(zip(*table, strict=True), start=1):
                    times = (quartile * 1e3 for quartile in quartiles(seconds))
                    cells[name, stage, side].update(zip(TIMES, times, strict=True))
    return failed
