"""What is timed: one run of one candidate."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .candidates import Candidate
from .plan import Plan, Shape


class Step(NamedTuple):
    """A candidate that is ready to run.

    Args:
        model: The network, or the whole detector.
        run: One inference, or one forward and backward pass.
    """

    model: nn.Module
    run: Callable[[], object]


def make_step(candidate: Candidate, shape: Shape, plan: Plan) -> Step:
    """Build a candidate on its device; the same one gets the same weights and input every time."""
    torch.manual_seed(0)
    model = candidate.build(shape)
    if plan.detector:
        from .detectors import detector_step  # needs mmdet

        return Step(*detector_step(model, shape, plan))
    model.to(plan.device).train(plan.mode == 'train')
    x = torch.randn(shape.batch, 3, shape.height, shape.width, device=plan.device)
    forward = torch.compile(model, dynamic=False) if plan.compiled else model
    return Step(model, inference(forward, x, plan) if plan.mode == 'infer' else training(model, forward, x, plan))


def make_run(candidate: Candidate, shape: Shape, plan: Plan) -> Callable[[], object]:
    """The step's run alone, for a process that does nothing else."""
    return make_step(candidate, shape, plan).run


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
