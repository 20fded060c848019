"""What is timed: one run of one candidate, and all of them in turn."""

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from .candidates import Candidate
from .plan import Plan, Shape

WARM_UP = 2  # rounds


def make_step(candidate: Candidate, shape: Shape, plan: Plan) -> tuple[nn.Module, Callable[[], object]]:
    """Build a candidate on its device; the same one gets the same weights and input every time.

    Returns:
        The network, or the whole detector; and one inference, or one forward and backward pass.
    """
    torch.manual_seed(0)
    model = candidate.build(shape)
    if plan.detector:
        from .detectors import detector_step  # needs mmdet

        return detector_step(model, shape, plan)
    model.to(plan.device).train(plan.mode == 'train')
    x = torch.randn(shape.batch, 3, shape.height, shape.width, device=plan.device)
    forward = torch.compile(model, dynamic=False) if plan.compiled else model
    return model, inference(forward, x, plan) if plan.mode == 'infer' else training(model, forward, x, plan)


def make_run(candidate: Candidate, shape: Shape, plan: Plan) -> Callable[[], object]:
    """The run of :func:`make_step` alone, for a process that does nothing else."""
    return make_step(candidate, shape, plan)[1]


def inference(forward: Callable[[Tensor], object], x: Tensor, plan: Plan) -> Callable[[], None]:
    """One forward pass without gradients."""

    def run() -> None:
        with torch.inference_mode(), plan.autocast():
            forward(x)

    return run


def training(model: nn.Module, forward: Callable[[Tensor], object], x: Tensor, plan: Plan) -> Callable[[], None]:
    """One forward pass and the backward pass of all that it returned, from gradients that stay the same."""
    gradients: list[Tensor] = []

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with plan.autocast():
            found = forward(x)
        maps = [found] if isinstance(found, Tensor) else list(found)
        gradients.extend(torch.randn_like(m) for m in maps[len(gradients) :])  # in the first run
        torch.autograd.backward(maps, gradients)

    return run


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
