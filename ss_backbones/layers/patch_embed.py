"""Overlapping patch embedding of PVTv2."""

import torch
from torch import Tensor, nn


class OverlapPatchEmbed(nn.Module):
    """A strided convolution with overlapping windows, then LayerNorm.

    Args:
        in_channels: Channels of the image or of the map below.
        dim: Channels C of the tokens.
        kernel_size: Side of the window; the padding is half of it.
        stride: Step between windows.

    Source: PVTv2, arXiv 2106.13797, section 3.2.
    """

    def __init__(self, in_channels: int, dim: int, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, ceil(H / stride), ceil(W / stride), C)."""
        # A channels-last input makes a channels-last output, whose tokens are then a view; no copy if it is one.
        x = self.proj(x.contiguous(memory_format=torch.channels_last))
        return self.norm(x.permute(0, 2, 3, 1))
