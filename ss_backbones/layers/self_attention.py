"""Self-attention over all tokens of an image, or inside windows, with SS's width and token split."""

import torch
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional as F

from ..settings import BlockSetting
from .heads import head_width
from .token_split import project_first


class SelfAttention(nn.Module):
    """Multi-head attention over class token (if any) and patches, global or inside windows.

    With windows a patch attends to the patches of its window and to the class token; the class token attends to all
    tokens, as in a global block. So it keeps looking at the whole image, its cost stays linear in the image's size, and
    a window that covers the image gives global attention. Windows at the right and bottom border are filled up with
    padding that nothing attends to. The token split goes by raster order over the real tokens, class token first.

    Args:
        dim: Channels C in and out; must be a multiple of ``num_heads``.
        num_heads: Number of heads.
        setting: The block's numbers; attn_ratio and attn_split are used.
        window_size: Side of a window in patches; None for global attention.
        attn_drop: Dropout probability of the attention weights.
        proj_drop: Dropout probability after the output projection.

    Raises:
        ValueError: The heads would get no channel.

    Source: ViT (arXiv 2010.11929); the SS paper; windows as in ViTDet (arXiv 2203.16527, section 3).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        setting: BlockSetting,
        *,
        window_size: int | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_width(dim, num_heads, setting)
        self.attn_split = setting.attn_split
        self.window_size = window_size
        self.attn_drop = attn_drop
        width = self.head_dim * num_heads
        self.qkv = nn.Linear(dim, 3 * width)
        self.proj = nn.Linear(width, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, C) to (B, N, C), where N is grid[0] * grid[1] patches, with the class token, if any, before them."""
        qkv = self.qkv(x)
        # one window over the whole image, or no image at all, is nothing to cut up
        whole = self.window_size is None or self.window_size >= max(grid) or not x.shape[0]
        out = self._attend(qkv) if whole else self._attend_in_windows(qkv, grid, self.window_size)
        return self.proj_drop(project_first(self.proj, out, self.attn_split))

    def _attend(self, qkv: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """(B, N, 3 * heads * D) to (B, N, heads * D); ``queries`` keeps the first so many alone."""
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q[:, :, :queries], k, v, attn_mask=mask, dropout_p=dropout)
        return out.transpose(1, 2).flatten(2)

    def _attend_in_windows(self, qkv: Tensor, grid: tuple[int, int], window: int) -> Tensor:
        prefix = qkv.shape[1] - grid[0] * grid[1]  # the class token, or nothing
        windows, padded = window_partition(qkv[:, prefix:].unflatten(1, grid), window)
        count = windows.shape[0] // qkv.shape[0]
        tokens = windows.flatten(1, 2)
        if prefix:
            # The class token goes into every window as a key; what it finds there as a query is dropped below.
            tokens = torch.cat((qkv[:, :prefix].repeat_interleave(count, dim=0), tokens), dim=1)
        mask = None
        if padded != grid:
            real, _ = window_partition(qkv.new_ones((1, *grid, 1), dtype=torch.bool), window)
            mask = F.pad(real.reshape(count, 1, 1, -1), (prefix, 0), value=True).repeat(qkv.shape[0], 1, 1, 1)
        out = self._attend(tokens, mask)[:, prefix:].unflatten(1, (window, window))
        out = window_unpartition(out, window, grid, padded).flatten(1, 2)
        return torch.cat((self._attend(qkv, queries=prefix), out), dim=1) if prefix else out
