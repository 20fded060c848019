"""Activation checkpointing."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    """Call the function; nothing but its inputs is kept for the backward pass, which computes the rest again."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    # Non-reentrant: the only kind that works with DDP and with frozen parts below.
    return checkpoint(function, *inputs, use_reentrant=False)
