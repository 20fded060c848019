"""Gates that a search learns: on or off in what is computed, with the gradient of something smooth; who gets them.

Source: He et al., "Pruning Self-attentions into Convolutional Layers in Single Path" (SPViT), TPAMI 2024, and its
official code.
"""

import torch
from torch import Tensor, nn

START = 1.5  # of all thresholds: a gate is on with a probability of 0.82
BARELY_ON = 0.01  # the threshold of a gate that is kept on
ALWAYS = 0.5  # the draw with which a gate is on where its probability is above a half
_LEAST = 2.0**-24  # a draw keeps so far from 0 and 1, where its logit would be infinite


def make_draws(count: int, seed: int) -> Tensor:
    """Uniform numbers (count,) for :func:`sample`, in float32 on the CPU: the same on every machine and device."""
    draws = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float32, device='cpu')
    return draws.clamp(_LEAST, 1 - _LEAST)


def sample(thresholds: Tensor, draws: Tensor) -> Tensor:
    """Gates of 0 and 1 whose gradient is that of the relaxed ones (straight-through).

    Args:
        thresholds: Any shape; a gate is on with the probability ``sigmoid(threshold)``.
        draws: Uniform numbers above 0 and below 1 in that shape; with :data:`ALWAYS` a gate is on where that is above a
            half.
    """
    soft = torch.sigmoid(thresholds + torch.logit(draws))
    return _hard(soft > 0.5, soft)


def expected(thresholds: Tensor) -> Tensor:
    """The gates that a cost is computed with: on where the probability p is above a half, whatever is drawn.

    The gradient is that of ``sigmoid(p - 0.5)``.
    """
    probabilities = torch.sigmoid(thresholds)
    return _hard(probabilities > 0.5, torch.sigmoid(probabilities - 0.5))


def _hard(on: Tensor, soft: Tensor) -> Tensor:
    return on.to(soft) + (soft - soft.detach())


def in_order(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three gates (3,) of which each is on only if those before it are."""
    first, second, third = gates.unbind()
    return first, first * second, first * second * third


def branch_gates(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the outputs of attention, 3 x 3 and 1 x 1 convolution are multiplied by: one of them by 1, or none.

    Of the gates that are on, only the last one learns from what its branch makes better: one after which another is on
    is multiplied by 0 here, and so is its gradient (the slow-down, without which the least complex branch, which is in
    every sample that has any, would learn the fastest). The official code detaches it as well, which changes nothing.

    Args:
        gates: (3,), see :func:`sample`; the first is for the 1 x 1 convolution, the last for attention.
    """
    first, second, third = in_order(gates)
    return third, second * (1 - third), first * (1 - second) * (1 - third)


def take_layers(taker: nn.Module, giver: nn.Module) -> None:
    """Let a module have the layers, parameters and buffers of another of its shape as its own, and its mode."""
    parts = (giver.named_children(), giver.named_parameters(recurse=False), giver.named_buffers(recurse=False))
    for named in parts:
        for name, part in named:
            setattr(taker, name, part)
    taker.train(giver.training)
