"""Time and memory of each stage of a network, against the side of the image."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from .candidates import Candidate
from .memory import in_own_process, left_out
from .plan import Plan, Shape
from .progress import progress
from .results import MIB
from .steps import make_step
from .timing import WARM_UP, quartiles, rounds

MOST_STAGES = 6  # more than a pyramid has; the blocks of a network without stages are measured by quarters

Curve = Mapping[int, float]  # by the side of the square image


@dataclass
class Growth:
    """What was measured of a network: for each side that could be measured, by stage.

    Args:
        seconds: The quartiles; the middle one is the median.
        saved: Bytes.
    """

    seconds: dict[int, list[tuple[float, float, float]]] = field(default_factory=dict)
    saved: dict[int, list[int]] = field(default_factory=dict)

    def times(self) -> list[Curve]:
        """The medians in ms of every stage."""
        return _by_stage({side: [middle * 1e3 for _, middle, _ in stages] for side, stages in self.seconds.items()})

    def memory(self) -> list[Curve]:
        """MiB of every stage."""
        return _by_stage({side: [size / MIB for size in stages] for side, stages in self.saved.items()})


def _by_stage(by_side: Mapping[int, Sequence[float]]) -> list[Curve]:
    return [dict(zip(by_side, stage, strict=True)) for stage in zip(*by_side.values(), strict=True)]


def exponent(curve: Curve) -> float | None:
    """The a of value ~ pixels ** a, by least squares of the logarithms; None with fewer than two sides."""
    if len(curve) < 2:
        return None
    pixels = np.log([side**2 for side in curve])
    return float(np.polyfit(pixels, np.log(list(curve.values())), 1)[0])


def stage_ends(network: nn.Module) -> list[nn.Module]:
    """The modules with which the stages of a network of the catalog end, or the quarters of its blocks."""
    ends = [part[-1] for part in network.freezable()[1:]]  # the first is the stem
    count = len(ends) if len(ends) <= MOST_STAGES else 4
    return [ends[len(ends) * (i + 1) // count - 1] for i in range(count)]


class StageClock:
    """Seconds of each stage in every forward pass from now on; what is before the first stage counts with it.

    Args:
        model: The network.
        ends: Where its stages end, in the order in which they are run.
        wait: Returns when the device has done all it was given.

    Attributes:
        laps: One row a forward pass, one entry a stage.
    """

    def __init__(self, model: nn.Module, ends: Sequence[nn.Module], wait: Callable[[], None]) -> None:
        self.laps: list[list[float]] = []
        self._wait = wait
        model.register_forward_pre_hook(self._start)
        for end in ends:
            end.register_forward_hook(self._lap)

    def _start(self, *_: object) -> None:
        self.laps.append([])
        self._wait()
        self._last = time.perf_counter()

    def _lap(self, *_: object) -> None:
        self._wait()
        now = time.perf_counter()
        self.laps[-1].append(now - self._last)
        self._last = now


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


def measure(
    growths: Mapping[str, Growth], candidates: Sequence[Candidate], sides: Sequence[int], plan: Plan, count: int
) -> list[str]:
    """Fill in what can be measured, the small sides first: the memory of each network, then the times in turn.

    Args:
        growths: To be filled, by candidate.
        candidates: Own networks of the catalog.
        sides: Of the images, rising.
        plan: How the networks are timed.
        count: Rounds to time.

    Returns:
        What could not be measured, in words. What has failed at a side is not tried at larger ones.
    """
    failed: dict[str, str] = {}
    with progress('growth', len(sides) * (len(candidates) + 1)) as going_to:
        for candidate in candidates:
            saved = growths[candidate.name].saved
            everything = in_own_process(partial(saved_at, candidate, sides, plan.device))
            for side in sides:
                going_to(f'memory of {candidate.name}, side {side}')
                what = f'memory of {candidate.name} from side {side} on'
                with left_out(failed, what):
                    saved[side] = next(everything)
                if what in failed:
                    break
        to_time = list(candidates)
        for side in sides:
            going_to(f'times, side {side}')
            runs, clocks = {}, {}
            for candidate in list(to_time):
                what = f'time of {candidate.name} from side {side} on'
                with left_out(failed, what):
                    model, run = make_step(candidate, Shape(1, side, side), plan)
                    for _ in range(WARM_UP):
                        run()
                    runs[candidate.name], clocks[candidate.name] = run, StageClock(model, stage_ends(model), plan.wait)
                if what in failed:
                    to_time.remove(candidate)
            list(rounds(runs, count, plan.wait))
            for name, clock in clocks.items():
                growths[name].seconds[side] = [quartiles(seconds) for seconds in zip(*clock.laps, strict=True)]
    words = [f'{what} is left out: {why}' for what, why in failed.items()]
    print(*words, sep='\n', end='\n' * bool(words), file=sys.stderr)
    return words


def rows(growths: Mapping[str, Growth], **same: object) -> list[dict[str, object]]:
    """One for each network, stage and side; empty where a measurement was left out.

    Args:
        growths: By network.
        same: Columns that are the same in all rows.
    """
    found = []
    for name, growth in growths.items():
        times, memory = growth.times(), growth.memory()
        sides = sorted(growth.seconds.keys() | growth.saved.keys())
        for i in range(max(len(times), len(memory))):
            exponents = [exponent(curves[i]) if curves else None for curves in (times, memory)]
            for side in sides:
                quartile = [round(s * 1e3, 4) for s in growth.seconds[side][i]] if side in growth.seconds else [None] * 3
                found.append(
                    {
                        'model': name,
                        'stage': i + 1,
                        'side': side,
                        'time_ms': quartile[1],
                        'time_low_ms': quartile[0],
                        'time_high_ms': quartile[2],
                        'saved_mib': round(memory[i][side], 3) if side in growth.saved else None,
                        'time_exponent': exponents[0] and round(exponents[0], 3),
                        'saved_exponent': exponents[1] and round(exponents[1], 3),
                        **same,
                    }
                )
    return found
