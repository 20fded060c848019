"""One shape, all candidates: memory first, each alone; then the times, in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from ..complexity import complexity
from .candidates import Candidate, describe, outputs
from .machine import busy_share, measure_peaks, processor_time
from .memory import Alone, left_out, measure_alone
from .plan import Plan, Shape
from .progress import progress
from .results import Result
from .steps import WARM_UP, make_run, make_step, rounds


@dataclass
class Outcome:
    """What came of a shape.

    Args:
        results: By candidate, of the rounds that were finished; empty where none was.
        failed: Candidates that could not be run, and why.
        stopped: The user stopped it with Ctrl-C.
    """

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def measure_shape(candidates: Sequence[Candidate], shape: Shape, plan: Plan, count: int) -> Outcome:
    """Measure the candidates at a shape; one that fails is left out and named, and the others go on.

    Args:
        candidates: To be measured.
        shape: Of the input.
        plan: How to run them.
        count: Rounds to time.
    """
    outcome = Outcome()
    alone: dict[str, Alone] = {}
    counts: dict[str, tuple[int, int | None, str]] = {}
    runs: dict[str, Callable[[], object]] = {}
    times: list[dict[str, float]] = []
    busy = None
    with progress(str(shape), len(candidates) + 1 + WARM_UP + count) as going_to:
        try:
            # First, because a system that runs out of memory ends the candidate's process, and not this one.
            for candidate in candidates:
                going_to(f'{candidate.name} alone')
                with left_out(outcome.failed, candidate.name):
                    alone[candidate.name] = measure_alone(partial(make_run, candidate, shape, plan), plan.device)
            going_to("the machine's peaks")
            peaks = measure_peaks(plan)
            for candidate in candidates:
                if (name := candidate.name) in alone:
                    with left_out(outcome.failed, name):
                        model, runs[name] = make_step(candidate, shape, plan)
                        counts[name] = count_operations(model, shape, plan)
            for _ in range(WARM_UP):
                going_to('warming up')
                runs = {name: run for name, run in runs.items() if name not in outcome.failed}
                for name, run in runs.items():
                    with left_out(outcome.failed, name):
                        run()
            runs = {name: run for name, run in runs.items() if name not in outcome.failed}
            before = processor_time()
            going_to('in turn')
            for seconds in rounds(runs, count, plan.wait):
                times.append(seconds)
                busy = busy_share(before)
                going_to('in turn')
            peaks = peaks.best(measure_peaks(plan))  # a machine that was busy before may be idle now
        except KeyboardInterrupt:
            outcome.stopped = True
    for name in times[0] if times else ():
        seconds = [one[name] for one in times]
        outcome.results[name] = Result(name, shape, seconds, *counts[name], alone[name], peaks, busy)
    return outcome


def count_operations(model: nn.Module, shape: Shape, plan: Plan) -> tuple[int, int | None, str]:
    """Parameters, multiply-adds of a step, and what it returns."""
    params = sum(p.numel() for p in model.parameters())
    if plan.detector:  # RoIAlign and NMS do not run on the meta device, where all this is counted
        return params, None, 'boxes and masks' if plan.mode == 'infer' else 'losses'
    try:
        found = complexity(model, (shape.batch, 3, shape.height, shape.width))
        return params, found.macs * plan.passes, describe(outputs(model, shape), shape)
    except RuntimeError:  # of a network that does not run there either
        return params, None, 'not known'
