"""What is timed: one run of one contestant."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .contestants import build
from .plan import Plan, Shape


@dataclass(frozen=True)
class Step:
    """A contestant that is ready to run.

    Args:
        model: The network, or the whole detector.
        run: One inference, or one forward and backward pass.
    """

    model: nn.Module
    run: Callable[[], object]


def make_step(name: str, shape: Shape, plan: Plan) -> Step:
    """Build a checked contestant on its device; the same name gives the same weights and input every time."""
    torch.manual_seed(0)
    model = build(name, shape, plan)
    if plan.detector:
        from .detectors import detector_step  # needs mmdet

        return Step(*detector_step(model, shape, plan))
    model.to(plan.device).train(plan.mode == 'train')
    x = torch.randn(shape.batch, 3, shape.height, shape.width, device=plan.device)
    forward = torch.compile(model, dynamic=False) if plan.compiled else model
    if plan.mode == 'infer':
        return Step(model, Inference(forward, x, plan))
    return Step(model, Training(model, forward, x, plan))


def make_run(name: str, shape: Shape, plan: Plan) -> Callable[[], object]:
    """The step's run alone, for a process that does nothing else."""
    return make_step(name, shape, plan).run


class Inference:
    """One forward pass without gradients."""

    def __init__(self, forward: Callable[[Tensor], object], x: Tensor, plan: Plan) -> None:
        self.forward, self.x, self.plan = forward, x, plan

    def __call__(self) -> None:
        with torch.inference_mode(), self.plan.autocast():
            self.forward(self.x)


class Training:
    """One forward pass and the backward pass of all that it returned, from gradients that stay the same."""

    def __init__(self, model: nn.Module, forward: Callable[[Tensor], object], x: Tensor, plan: Plan) -> None:
        self.model, self.forward, self.x, self.plan = model, forward, x, plan
        self.gradients: list[Tensor] = []

    def __call__(self) -> None:
        self.model.zero_grad(set_to_none=True)
        with self.plan.autocast():
            found = self.forward(self.x)
        maps = [found] if isinstance(found, Tensor) else list(found)
        self.gradients = self.gradients or [torch.randn_like(m) for m in maps]
        torch.autograd.backward(maps, self.gradients)
