"""Timing in turn, and what can be said of two rows of times."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

WARM_UP = 2  # rounds


def rounds(
    runs: Mapping[str, Callable[[], object]], count: int, wait: Callable[[], object]
) -> Iterator[dict[str, float]]:
    """Run all of them in turn, so that whatever slows the machine slows all.

    Args:
        runs: What to time, by name.
        count: How many rounds.
        wait: Returns when the device has done all it was given.

    Yields:
        The seconds of each, after every round.
    """
    for _ in range(count):
        seconds = {}
        for name, run in runs.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            seconds[name] = time.perf_counter() - start
        yield seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The three quartiles, none beyond the values themselves; the middle one is the median."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, middle, high


def ratios(slower: Sequence[float], faster: Sequence[float]) -> tuple[float, float, float]:
    """The quartiles of how many times as fast one was as the other, round by round."""
    return quartiles([a / b for a, b in zip(slower, faster, strict=True)])
