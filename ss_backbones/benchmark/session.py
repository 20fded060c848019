"""One shape, all contestants: memory first, each alone; then the times, in turn."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from tqdm import tqdm

from ..complexity import complexity

from .contestants import describe, outputs
from .machine import measure_peaks
from .memory import Alone, Failed, explain, measure_alone
from .plan import Plan, Shape
from .results import Result
from .steps import Step, make_run, make_step
from .timing import WARM_UP, rounds


@dataclass
class Outcome:
    """What came of a shape.

    Args:
        results: By contestant, of the rounds that were finished; empty where none was.
        failed: Contestants that could not be run, and why.
        stopped: The user stopped it with Ctrl-C.
    """

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def measure_shape(names: Sequence[str], shape: Shape, plan: Plan, count: int) -> Outcome:
    """Measure the contestants at a shape; one that fails is left out and named, and the others go on.

    Args:
        names: Checked contestants.
        shape: Of the input.
        plan: How to run them.
        count: Rounds to time.
    """
    outcome = Outcome()
    alone: dict[str, Alone] = {}
    steps: dict[str, Step] = {}
    counts: dict[str, tuple[int, int | None, str]] = {}
    times: list[dict[str, float]] = []
    # Without a terminal the bar is not shown: its control codes would fill a log.
    with tqdm(total=len(names) + 1 + WARM_UP + count, desc=str(shape), disable=None, leave=False) as bar:
        if not sys.stderr.isatty():
            print(f'measuring {shape} ...', file=sys.stderr, flush=True)
        try:
            # First, because a system that runs out of memory ends the contestant's process, and not this one.
            for name in names:
                bar.set_postfix_str(f'{name} alone')
                try:
                    alone[name] = measure_alone(partial(make_run, name, shape, plan), plan.device)
                except Failed as error:
                    outcome.failed[name] = str(error)
                bar.update()
            bar.set_postfix_str("the machine's peaks")
            peaks = measure_peaks(plan)
            bar.update()
            for name in alone:
                with _named(name, outcome.failed):
                    steps[name] = make_step(name, shape, plan)
                    counts[name] = _count(steps[name], shape, plan)
            bar.set_postfix_str('warming up')
            for _ in range(WARM_UP):
                for name in list(steps):
                    with _named(name, outcome.failed):
                        steps[name].run()
                    if name in outcome.failed:
                        del steps[name]
                bar.update()
            bar.set_postfix_str('in turn')
            for seconds in rounds({name: step.run for name, step in steps.items()}, count, plan.wait):
                times.append(seconds)
                bar.update()
            peaks = peaks.best(measure_peaks(plan))  # a machine that was busy before may be idle now
        except KeyboardInterrupt:
            outcome.stopped = True
    if times:
        for name in steps:
            seconds = [one[name] for one in times]
            outcome.results[name] = Result(name, shape, seconds, *counts[name], alone[name], peaks)
    return outcome


@contextmanager
def _named(name: str, failed: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a network may fail in any way, and the others are still to be measured
        failed[name] = explain(error)


def _count(step: Step, shape: Shape, plan: Plan) -> tuple[int, int | None, str]:
    """Parameters, multiply-adds of a step, and what it returns."""
    params = sum(p.numel() for p in step.model.parameters())
    if plan.detector:  # RoIAlign and NMS do not run on the meta device, where all this is counted
        return params, None, 'boxes and masks' if plan.mode == 'infer' else 'losses'
    try:
        found = complexity(step.model, (shape.batch, 3, shape.height, shape.width))
        return params, found.macs * plan.passes, describe(outputs(step.model, shape), shape)
    except RuntimeError:  # of a network that does not run there either
        return params, None, 'not known'
