"""Time and memory of each stage of an SSPVTv2."""

import time
from collections.abc import Callable, Sequence

import torch
from .candidates import build
from .plan import Plan, Shape
from torch import Tensor, nn


class StageClock:
    """Seconds of each stage in every forward pass from now on; the patch embedding counts with the first stage.

    Args:
        model: An SSPVTv2.
        wait: Returns when the device has done all it was given.

    Attributes:
        laps: One row a forward pass, one entry a stage.
    """

    def __init__(self, model: nn.Module, wait: Callable[[], None]) -> None:
        self.laps: list[list[float]] = []
        self._wait = wait
        model.patch_embed.register_forward_pre_hook(self._start)
        for stage in model.stages:
            stage.register_forward_hook(self._lap)

    def _start(self, *_: object) -> None:
        self.laps.append([])
        self._wait()
        self._last = time.perf_counter()

    def _lap(self, *_: object) -> None:
        self._wait()
        now = time.perf_counter()
        self.laps[-1].append(now - self._last)
        self._last = now


def saved_by_stage(model: nn.Module, stages: Sequence[nn.Module], x: Tensor) -> list[int]:
    """Bytes that each stage keeps for the backward pass, beside the parameters.

    A storage counts whole, because it is kept whole, and once: with the stage that was first to keep it.

    Args:
        model: A network in training mode.
        stages: Its parts, in the order in which they are run; whatever runs before a part counts with it.
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

    handles = [stage.register_forward_hook(lambda *_: found.append(0)) for stage in stages]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            kept = model(x)  # bound to a name, or the first stages' tensors would be gone before the last are made
    finally:
        for handle in handles:
            handle.remove()
    del kept
    return found[: len(stages)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def measure_saved(name: str, shape: Shape, plan: Plan) -> list[int]:
    """:func:`saved_by_stage` of a checked contestant; to be called in a process that may run out of memory."""
    torch.manual_seed(0)
    model = build(name, shape, plan).to(plan.device).train()
    x = torch.randn(shape.batch, 3, shape.height, shape.width, device=plan.device)
    return saved_by_stage(model, model.stages, x)
