"""Patch merging of Swin."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .fast_paths import is_traced


class PatchMerging(nn.Module):
    """The tokens of each 2 x 2 side by side in one, LayerNorm, and a linear layer without a bias.

    Args:
        dim: Channels C of the map.
        out_dim: Channels D of the tokens that come out.

    Source: Swin (arXiv 2103.14030, section 3.1).
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, ceil(H / 2), ceil(W / 2), D); an odd side is filled up with zeros."""
        return self.reduction(self.norm(merge(x.permute(0, 2, 3, 1))))


@fx.wrap  # torch.fx knows no sizes to decide by
def merge(x: Tensor) -> Tensor:
    """(B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), 4 C), in the order (0, 0), (1, 0), (0, 1), (1, 1)."""
    odd_h, odd_w = x.shape[1] % 2, x.shape[2] % 2
    if is_traced():  # a graph for all sizes cannot decide by one
        height, width = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
        x = F.pad(x, (0, 0, 0, 2 * width - x.shape[2], 0, 2 * height - x.shape[1]))
        return x.unflatten(2, (width, 2)).unflatten(1, (height, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
    if odd_h or odd_w:
        x = F.pad(x, (0, 0, 0, odd_w, 0, odd_h))
    return torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1)
