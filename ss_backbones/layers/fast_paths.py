"""When a layer's weights may be used without calling the layer.

A parameter-holding layer works through its own forward: hooks see it, and what stands in its place (an adapter, a
quantised or pruned layer) is called. A fast path is for plain layers alone, and gives the same numbers.
"""

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_modules

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')  # torch has no other way
_GLOBAL_HOOKS = tuple(f'_global{hooks}' for hooks in _HOOKS)
HALF = (torch.float16, torch.bfloat16)
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


def may_merge(x: Tensor, *layers: nn.Linear) -> bool:
    """Whether a product of weights of linear layers may stand for calls of them: with an exact type, and where nobody
    wants to see the layers, as compilers, exporters and what counts multiply-adds do on the meta device.
    """
    if is_symbolic(x) or is_traced() or x.is_meta or x.dtype not in (torch.float32, torch.float64):
        return False
    if torch.is_autocast_enabled(x.device.type):
        return False
    plain = all(is_plain(layer, nn.Linear) for layer in layers)
    return plain and all(layer.bias is not None and layer.weight.dtype == x.dtype for layer in layers)


def exact_dtype(x: Tensor) -> torch.dtype:
    """The type for sums of squares, which have twice the range of what they are of: float32 for half precision."""
    return torch.float32 if x.dtype in HALF else x.dtype


def is_traced() -> bool:
    """Whether a compiler, an exporter or torch.jit.trace is at work, for whom the plain way to write things is best."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_symbolic(x: object) -> bool:
    """Whether torch.fx is at work: there are no sizes to decide by, and every layer shall be a node of the graph."""
    return isinstance(x, fx.Proxy)
