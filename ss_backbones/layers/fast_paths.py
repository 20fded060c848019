"""When a layer's weights may be used without calling the layer.

A parameter-holding layer works through its own forward: hooks see it, and what stands in its place (an adapter, a
quantised or pruned layer) is called. A fast path is for plain layers alone, and gives the same numbers.
"""

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_modules

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')  # torch has no other way
_GLOBAL_HOOKS = tuple(f'_global{hooks}' for hooks in _HOOKS)
_PLAIN_TENSORS = (nn.Parameter, Tensor)  # subclasses, such as quantised or distributed weights, have ways of their own


def has_hooks(*layers: nn.Module) -> bool:
    """Whether a hook of any of the layers, or of all modules, must see what it would see without shortcuts."""
    if any(getattr(torch_modules, hooks) for hooks in _GLOBAL_HOOKS):
        return True
    return any(getattr(layer, hooks) for layer in layers for hooks in _HOOKS)


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer is exactly of this kind and calling it does nothing but compute with its own parameters."""
    if type(layer) is not kind or has_hooks(layer):
        return False
    if 'forward' in layer.__dict__ or getattr(layer, '_compiled_call_impl', None) is not None:
        return False
    return all(type(parameter) in _PLAIN_TENSORS for parameter in layer._parameters.values())


def is_traced() -> bool:
    """Whether a compiler, an exporter or torch.jit.trace is at work, for whom the plain way to write things is best."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_symbolic(x: object) -> bool:
    """Whether torch.fx is at work: there are no sizes to decide by, and every layer shall be a node of the graph."""
    return isinstance(x, fx.Proxy)
