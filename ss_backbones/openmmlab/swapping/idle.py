"""Which of a backbone's parameters the rest of a model never uses, because its neck or heads leave out a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Idle:
    """What gets no gradient.

    Args:
        parameters: Names of the backbone's parameters.
        maps: Places of its maps that nothing uses.
        count: How many maps it gives.
    """

    parameters: tuple[str, ...]
    maps: tuple[int, ...]
    count: int

    def __str__(self) -> str:
        """What is not used, in words."""
        numbers = ', '.join(map(str, self.maps))
        plural = len(self.maps) > 1
        return (
            f'nothing uses {f"map{plural * chr(115)} {numbers} of the {self.count}" if self.maps else "all"} that the '
            f'backbone gives, so {len(self.parameters)} of its parameters, such as {self.parameters[0]}, get no '
            'gradient and stay as they begin'
        )


def find_idle(backbone: nn.Module, run: Callable[[], object]) -> Idle:
    """See where gradients come to.

    Args:
        backbone: It.
        run: Runs the model, the backbone among it once, and returns tensors in nested lists, tuples and dicts.
    """
    maps: list[Tensor] = []
    hook = backbone.register_forward_hook(lambda module, inputs, found: maps.extend(_tensors(found)))
    with hook, torch.enable_grad():
        out = [value.sum() for value in _tensors(run()) if value.requires_grad]
    given = {name: value for name, value in backbone.named_parameters() if value.requires_grad}
    places = [index for index, value in enumerate(maps) if value.requires_grad]
    wanted = [*given.values(), *(maps[index] for index in places)]
    if not out or not wanted:
        return Idle((), (), len(maps))
    found = torch.autograd.grad(sum(out), wanted, allow_unused=True)
    unused = tuple(name for name, gradient in zip(given, found, strict=False) if gradient is None)
    idle = tuple(index for index, gradient in zip(places, found[len(given) :], strict=True) if gradient is None)
    return Idle(unused, idle, len(maps))


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for inner in value for tensor in _tensors(inner)] if isinstance(value, list | tuple) else []
