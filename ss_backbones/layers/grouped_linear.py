"""Linear layers over groups of neighbouring channels, light enough to be read weight by weight."""

import torch
from timm.layers import trunc_normal_
from torch import Tensor, fx, nn

from .fast_paths import is_traced


class GroupedLinear(nn.Module):
    """A learned weight for each channel; what it makes of a group of neighbouring channels is summed, with a bias.

    It has ``channels + channels / group_size`` parameters. The weights start as those of all linear layers of DFC-DeiT,
    normal with a standard deviation of 0.01 (the source gives no initialisation of these): so little that what is read
    from them afterwards was learned.

    Args:
        channels: Channels D in, a multiple of ``group_size``.
        group_size: Neighbouring channels G of a group.

    Attributes:
        weight: (D / G, G), in the order of the channels.
        bias: (D / G,).

    Raises:
        ValueError: ``channels`` is no multiple of ``group_size``, or not positive; or what comes in has other channels.

    Source: GL in the SS paper's DFC (Pattern Recognition 162, 2025, 111422).
    """

    def __init__(self, channels: int, group_size: int) -> None:
        super().__init__()
        if group_size < 1 or channels < 1 or channels % group_size:
            raise ValueError(
                f'{channels} channels do not make up groups of {group_size}; both must be positive, and the first a '
                'multiple of the second.'
            )
        self.weight = nn.Parameter(torch.empty(channels // group_size, group_size))
        self.bias = nn.Parameter(torch.empty(channels // group_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew."""
        trunc_normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D / G)."""
        return grouped_linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """For print."""
        groups, size = self.weight.shape
        return f'channels={groups * size}, group_size={size}'


@fx.wrap  # what it decides by sizes, torch.fx cannot follow
def grouped_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What :class:`GroupedLinear` computes: (..., D), (D / G, G), (D / G,) to (..., D / G).

    Raises:
        ValueError: ``x`` has other channels than the weight.
    """
    if x.shape[-1] != weight.numel():
        raise ValueError(f'Expected {weight.numel()} channels in the last dimension, but got {tuple(x.shape)}.')
    out = _weighted_sums(x.reshape(-1, x.shape[-1]), weight) + bias
    return out.to(x.dtype).reshape(*x.shape[:-1], out.shape[1])  # under autocast the weights are float32


def sums_of_products(x: Tensor, y: Tensor, group_size: int) -> Tensor:
    """The sum over each group of x times y, without a tensor of their size in between: (N, D), (N, D) to (N, D / G)."""
    if is_traced():
        return (x * y).unflatten(1, (-1, group_size)).sum(2)
    return _SumsOfProducts.apply(x, y, group_size)


def _weighted_sums(x: Tensor, weight: Tensor) -> Tensor:
    """The sum over each group of x times its weight, without a tensor of x's size in between: (N, D) to (N, D / G)."""
    if is_traced():
        return (x * weight.flatten()).unflatten(1, weight.shape).sum(2)  # compilers fuse that
    if x.is_meta:
        return torch.einsum('njg,jg->nj', x.unflatten(1, weight.shape), weight)  # counters of multiply-adds see this
    return _WeightedSums.apply(x, weight)


class _WeightedSums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        size = weight.shape[1]
        out = x[:, ::size] * weight[:, 0]
        for i in range(1, size):
            out = out.addcmul_(x[:, i::size], weight[:, i])
        return out

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN001
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN001
        x, weight = ctx.saved_tensors
        size = weight.shape[1]
        grad_x = (grad.unsqueeze(2) * weight).flatten(1)
        # one G-th of x's size at a time
        grad_weight = torch.stack([(grad * x[:, i::size]).sum(0) for i in range(size)], dim=1)
        return grad_x.to(x.dtype), grad_weight


class _SumsOfProducts(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, group_size: int) -> Tensor:
        groups = (-1, group_size)
        return torch.einsum('njg,njg->nj', x.unflatten(1, groups), y.unflatten(1, groups))

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ANN001
        x, y, ctx.group_size = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN001
        groups = (-1, ctx.group_size)
        # autocast may have made the sums in another dtype than its inputs have
        return *(
            (grad.unsqueeze(2) * other.unflatten(1, groups)).flatten(1) for other in reversed(ctx.saved_tensors)
        ), None
