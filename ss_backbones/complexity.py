"""Multiply-adds and parameters of a network, with attention counted whichever way it is computed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Args:
        macs: Multiply-adds of convolutions, linear layers and the two matrix products of attention. Norms,
            activations, pooling and element-wise work are not counted.
        params: Trainable parameters.
    """

    macs: int
    params: int

    def __str__(self) -> str:
        return f'{self.macs / 1e9:.3f} GMACs, {self.params / 1e6:.3f} M parameters'


def complexity(model: nn.Module, shape: Sequence[int] = (1, 3, 224, 224)) -> Complexity:
    """Count the multiply-adds of one forward pass in evaluation mode, and the trainable parameters.

    Args:
        model: A network that takes one tensor of images; it is left as it is.
        shape: (B, C, H, W) of the images.

    Raises:
        ValueError: ``shape`` does not have four positive numbers.
    """
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f'shape={tuple(shape)} must be (B, C, H, W), all at least 1.')
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Complexity(macs=_counted(model, shape).get_total_flops() // 2, params=params)


def module_macs(model: nn.Module, names: Sequence[str], shape: Sequence[int]) -> tuple[int, list[int]]:
    """The multiply-adds of a forward pass, and those of some modules in it, by their names; see :func:`complexity`."""
    counter = _counted(model, shape)
    counts = counter.get_flop_counts()
    inside = [sum(counts[f'{type(model).__name__}.{name}'].values()) // 2 for name in names]
    return counter.get_total_flops() // 2, inside


def _counted(model: nn.Module, shape: Sequence[int]) -> FlopCounterMode:
    """torch's counter after one forward pass."""
    # On the meta device nothing is computed or stored, and torch's counter sees the products inside fused attention,
    # which on the CPU it counts as 0.
    twin = copy.deepcopy(model).to('meta').eval()
    counter = FlopCounterMode(display=False)
    dtype = next((p.dtype for p in twin.parameters()), None)
    with torch.no_grad(), counter:
        twin(torch.empty(*shape, device='meta', dtype=dtype))
    return counter
