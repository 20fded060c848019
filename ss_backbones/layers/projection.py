"""The second linear of an MLP with its bypass, also without keeping GELU's result for the backward pass."""

import torch
from torch import Tensor
from torch.nn import functional as F


def project(hidden: Tensor, weight: Tensor, bias: Tensor, bypass_shift: Tensor | None) -> Tensor:
    """Project the first channels; the others bypass the projection.

    Args:
        hidden: (N, H).
        weight: (D, I); the last H - I channels bypass it.
        bias: (D,).
        bypass_shift: (H - I,), added to the channels of the bypass; None adds nothing.

    Returns:
        (N, D + H - I).
    """
    inner = weight.shape[1]
    if inner == hidden.shape[1]:
        return F.linear(hidden, weight, bias)
    # Rows of a 2D slice are strided, which the matrix product takes as it is.
    bypass = hidden[:, inner:]
    if bypass_shift is not None:
        bypass = bypass + bypass_shift.to(bypass.dtype)  # under autocast the ramp is float32 and the tokens are not
    return torch.cat((F.linear(hidden[:, :inner], weight, bias), bypass), dim=1)


class ProjectGelu(torch.autograd.Function):
    """:func:`project` of GELU's result. GELU's input alone is kept for the backward pass, which computes GELU again.

    Otherwise GELU would keep its input and the linear its own, one third of all that PVTv2 keeps. A function of its
    own and no activation checkpointing: that knows none of torch.func's transforms, and would take weights that are in
    the module by then for those that were used.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, bias: Tensor, bypass_shift: Tensor | None) -> Tensor:
        return project(F.gelu(hidden), weight, bias, bypass_shift)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:  # noqa: ANN001
        hidden, weight, _, bypass_shift = inputs
        ctx.save_for_backward(hidden, weight)
        ctx.shifted = bypass_shift is not None

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # noqa: ANN001
        hidden, weight = ctx.saved_tensors
        width, inner = weight.shape
        first = grad[:, :width]
        # autocast is off here, so the dtypes are matched by hand; autograd gives each gradient its parameter's dtype
        activated = F.gelu(hidden[:, :inner]).to(grad.dtype)
        grad_activated = first @ weight.to(grad.dtype)
        if inner < hidden.shape[1]:
            grad_activated = torch.cat((grad_activated, grad[:, width:]), dim=1)
        grad_hidden = torch.ops.aten.gelu_backward(grad_activated.to(hidden.dtype), hidden)
        grad_shift = grad[:, width:].sum(0) if ctx.shifted and ctx.needs_input_grad[3] else None
        return grad_hidden, first.t() @ activated, first.sum(0), grad_shift
