"""What makes a network fit for an export with open image sizes, and from which size on it holds."""

import copy

import torch
from torch import Tensor, nn

from ...layers import SelfAttention, SpatialReductionAttention
from ...networks import PVTv2, ViT
from .errors import ExportError

_EXACT = 2**10  # tokens times a fraction of such a denominator is exact in floating point, as in the network


class _ProjectFirst(nn.Module):
    """Project all tokens but the last share of them, which is a fraction: (B, N, C) to (B, N, C)."""

    def __init__(self, proj: nn.Linear, share_past: float) -> None:
        super().__init__()
        self.proj = proj
        self.past, self.of = share_past.as_integer_ratio()

    def forward(self, x: Tensor) -> Tensor:
        past = x.shape[1] * self.past // self.of  # int(N * share) would be that of the example, for good
        first, last = x.split((x.shape[1] - past, past), dim=1)
        return torch.cat((self.proj(first), last), dim=1)


def core_of(model: nn.Module) -> PVTv2 | ViT:
    """The network of this package in a backbone, a classifier or timm's wrapper for features."""
    return next(module for module in model.modules() if isinstance(module, PVTv2 | ViT))


def smallest_side(network: PVTv2 | ViT) -> int:
    """The side in pixels from which on an export with ``dynamic`` holds: no kernel is larger than its map."""
    if isinstance(network, ViT) or network.arch.linear:
        return 1
    sides = network.arch.sr_ratios[: len(network.stages)]
    return max(4 * 2**i * (side - 1) + 1 for i, side in enumerate(sides))


def check_dynamic(model: nn.Module) -> None:
    """Whether a network can be exported for all image sizes; its weights do not matter.

    Raises:
        ExportError: It can be exported at fixed sizes only.
    """
    network = core_of(model)
    if not getattr(network, 'dynamic_img_size', True):
        raise ExportError('dynamic_img_size=False makes a network for one image size; leave out --dynamic.')
    for module in network.modules():
        if isinstance(module, SelfAttention) and module.window_size is not None:
            raise ExportError(
                f'A network with attention in windows (window_size={module.window_size}) can be exported for one image '
                'size only, because the number of windows goes with the size; leave out --dynamic.'
            )
        split = getattr(module, 'attn_split', 0.0)
        if split.as_integer_ratio()[1] > _EXACT:
            raise ExportError(
                f'attn_split={split} is not the same share of all numbers of tokens in ONNX; take one such as 0.25, or '
                'leave out --dynamic.'
            )


def as_dynamic(model: nn.Module) -> nn.Module:
    """A copy that computes the same and can be exported for all image sizes.

    Raises:
        ExportError: See :func:`check_dynamic`.
    """
    check_dynamic(model)
    model = copy.deepcopy(model)
    for module in core_of(model).modules():
        if isinstance(module, SelfAttention | SpatialReductionAttention) and module.attn_split:
            module.proj = _ProjectFirst(module.proj, module.attn_split)
            module.attn_split = 0.0
    return model
