"""Attention whose keys and values come from a spatially reduced map (PVTv2), with SS's width and token split."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..settings import BlockSetting
from .heads import head_width
from .token_split import project_first

_POOLED_SIDE = 7  # the linear variant reduces any map to 7 x 7


class SpatialReductionAttention(nn.Module):
    """Multi-head attention over an H x W map with reduced keys and values.

    Args:
        dim: Channels C in and out; must be a multiple of ``num_heads``.
        num_heads: Number of heads.
        setting: The block's numbers; attn_ratio and attn_split are used.
        sr_ratio: Side of the reducing convolution, which is also its stride; 1 reduces nothing.
        linear: Pool the map to 7 x 7 in place of the reducing convolution (PVTv2's linear variant).
        attn_drop: Dropout probability of the attention weights.
        proj_drop: Dropout probability after the output projection.

    Raises:
        ValueError: The heads would get no channel.

    Source: PVTv2 (arXiv 2106.13797, section 3) and the SS paper.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        setting: BlockSetting,
        *,
        sr_ratio: int = 1,
        linear: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_width(dim, num_heads, setting)
        self.attn_split = setting.attn_split
        self.attn_drop = attn_drop
        self.sr_ratio = sr_ratio
        self.linear = linear
        width = self.head_dim * num_heads
        self.q = nn.Linear(dim, width)
        self.kv = nn.Linear(dim, 2 * width)
        self.proj = nn.Linear(width, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        if linear or sr_ratio > 1:
            side = 1 if linear else sr_ratio
            self.sr = nn.Conv2d(dim, dim, kernel_size=side, stride=side)
            self.norm = nn.LayerNorm(dim, eps=1e-5)
        else:
            self.sr = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        h, w = x.shape[1:3]
        q = self._heads(self.q(x))
        k, v = (self._heads(t) for t in self.kv(self._reduce(x)).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        out = out.transpose(1, 2).flatten(2)
        return self.proj_drop(project_first(self.proj, out, self.attn_split)).unflatten(1, (h, w))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, H, W, heads * D) to a (B, heads, H * W, D) view."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _reduce(self, x: Tensor) -> Tensor:
        """The map that keys and values are made from, (B, H, W, C) to (B, h, w, C)."""
        if self.sr is None:
            return x
        image = x.permute(0, 3, 1, 2)  # a view: channels-last tokens are a channels-last image
        if self.linear:
            image = F.adaptive_avg_pool2d(image, _POOLED_SIDE)
        else:
            lack_h, lack_w = self.sr_ratio - x.shape[1], self.sr_ratio - x.shape[2]
            if lack_h > 0 or lack_w > 0:
                # The map is smaller than the kernel: repeat its border rather than fail.
                image = F.pad(image, (0, max(lack_w, 0), 0, max(lack_h, 0)), mode='replicate')
        reduced = self.norm(self.sr(image).permute(0, 2, 3, 1))
        return F.gelu(reduced) if self.linear else reduced
