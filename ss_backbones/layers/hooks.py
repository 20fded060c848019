"""Does anybody look at what goes through a layer, or write down what it does?"""

import torch
from torch import nn

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')  # torch has no other way


def is_watched(*layers: nn.Module) -> bool:
    """Whether any of the layers has a hook, which must then see what it would see without shortcuts."""
    return any(getattr(layer, hooks) for layer in layers for hooks in _HOOKS)


def is_traced() -> bool:
    """Whether a compiler, an exporter or torch.jit.trace is at work, for whom the plain way to write things is best."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
