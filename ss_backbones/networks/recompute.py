"""Activation checkpointing of a block."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, with_cp: bool, *inputs: object) -> torch.Tensor:
    """Call the block; ``with_cp`` keeps nothing for the backward pass but its inputs, and computes the rest again."""
    if with_cp and torch.is_grad_enabled():
        # Non-reentrant: the only kind that works with DDP and with frozen parts below.
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
