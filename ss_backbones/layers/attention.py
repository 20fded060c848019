"""Multi-head attention: over tokens, inside windows, and with keys and values of a reduced map; SS's token bypass."""

from collections.abc import Sequence

import torch
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, fx, nn
from torch.nn import functional as F

_POOLED_SIDE = 7  # PVTv2's linear variant reduces any map to 7 x 7
_EXACT = 2**10  # tokens times a fraction of such a denominator is exact in floating point


class Attention(nn.Module):
    """What all attention here shares: heads, dropout and the output projection, which the last tokens may bypass.

    Args:
        dim: Channels C in and out.
        num_heads: Number of heads.
        head_dim: Channels of query, key and value in each head.
        token_bypass: Share of the tokens, the last ones in raster order, that bypass the output projection, in [0, 1);
            above 0 it needs ``num_heads * head_dim == dim``.
        attn_drop: Dropout probability of the attention weights.
        proj_drop: Dropout probability after the output projection.

    Attributes:
        window_size: Side, or height and width, of the windows in tokens, or None.

    Raises:
        ValueError: There would be no channel, ``token_bypass`` is no such share, or the tokens that bypass the
            projection would have another width than those that do not.

    Source: ViT (arXiv 2010.11929); the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    window_size: int | tuple[int, int] | None = None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        token_bypass: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if min(dim, num_heads, head_dim) < 1:
            raise ValueError(f'dim={dim}, num_heads={num_heads} and head_dim={head_dim} must all be 1 or more.')
        if not 0 <= token_bypass < 1:
            raise ValueError(f'token_bypass={token_bypass} is a share of the tokens and must lie in [0, 1).')
        if token_bypass and num_heads * head_dim != dim:
            raise ValueError(
                f'token_bypass={token_bypass} lets tokens past the output projection, so their width, {num_heads} '
                f'heads of {head_dim} channels, must be dim={dim}. Take token_bypass=0, or other heads.'
            )
        self.num_heads, self.head_dim = num_heads, head_dim
        self.token_bypass = token_bypass
        self.attn_drop = attn_drop
        self._make_inputs(dim, num_heads * head_dim)
        self.proj = nn.Linear(num_heads * head_dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def _make_inputs(self, dim: int, width: int) -> None:
        """The layers from C channels to queries, keys and values of ``width`` channels."""
        raise NotImplementedError

    @property
    def scale(self) -> float:
        """What the products of queries and keys are multiplied by."""
        return self.head_dim**-0.5

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """The layers that take what the norm before the attention returns; none, where what it returns is padded."""
        raise NotImplementedError

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """Of queries, keys and values each the layer that makes them, and the first of its ``heads * D`` rows there."""
        raise NotImplementedError

    def mix(self, x: Tensor, *layout: object) -> Tensor:
        """What comes before the output projection: tokens, as :meth:`forward` gets them, to (B, N, heads * D)."""
        raise NotImplementedError

    def inner_norms(self) -> list[tuple[nn.LayerNorm, list[nn.Linear]]]:
        """Norms inside the attention, each with the layers that take what it returns and nothing between."""
        return []

    @property
    def has_exact_bypass(self) -> bool:
        """Whether the bypass is the same share of any number of tokens in whole numbers, as exporters need it."""
        return self.token_bypass.as_integer_ratio()[1] <= _EXACT

    def bypassing(self, tokens: int) -> int:
        """How many of so many tokens, the last ones, bypass the output projection."""
        share, of = self.token_bypass.as_integer_ratio()
        return tokens * share // of if self.has_exact_bypass else int(tokens * self.token_bypass)

    def split(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Something of every token (B, N, D), in raster order, as that of the tokens that are projected (B, n, D) and
        that of those that bypass the projection (B, N - n, D).

        Args:
            x: It.
            tokens: The tokens, as :meth:`forward` gets them.
        """
        bypass = self.bypassing(x.shape[1])
        return x[:, : x.shape[1] - bypass], x[:, x.shape[1] - bypass :]

    def _project(self, x: Tensor) -> Tensor:
        """(B, N, heads * D) to (B, N, C)."""
        if not self.token_bypass:
            return self.proj_drop(self.proj(x))
        tokens = x.shape[1]
        bypass = self.bypassing(tokens)
        first, last = x.split((tokens - bypass, bypass), dim=1)
        return self.proj_drop(torch.cat((self.proj(first), last), dim=1))


class SelfAttention(Attention):
    """Multi-head attention over class token (if any) and patches, global or inside windows.

    Without windows the tokens may be of anything, such as the steps of a signal. With windows a patch attends to the
    patches of its window and to the class token; the class token attends to all tokens, as in a global block. So it
    keeps looking at the whole image, its cost stays linear in the image's size, and a window that covers the image
    gives global attention. Windows at the right and bottom border are filled up with padding that nothing attends to.
    The token bypass goes by raster order over the real tokens, class token first.

    Args:
        dim: See :class:`Attention`.
        num_heads: See :class:`Attention`.
        head_dim: See :class:`Attention`.
        window_size: Side of a window in patches; None for global attention.
        token_bypass: See :class:`Attention`.
        attn_drop: See :class:`Attention`.
        proj_drop: See :class:`Attention`.

    Source: ViT (arXiv 2010.11929); the SS paper; windows as in ViTDet (arXiv 2203.16527, section 3).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        window_size: int | None = None,
        token_bypass: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, head_dim, token_bypass=token_bypass, attn_drop=attn_drop, proj_drop=proj_drop)
        self.window_size = window_size

    def _make_inputs(self, dim: int, width: int) -> None:
        self.qkv = nn.Linear(dim, 3 * width)

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """See :class:`Attention`."""
        return [self.qkv]

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """See :class:`Attention`."""
        return [(self.qkv, i * self.num_heads * self.head_dim) for i in range(3)]

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, N, C) to (B, N, C).

        Args:
            x: The tokens; with windows grid[0] * grid[1] patches, with the class token, if any, before them.
            grid: Height and width in patches, which windows alone need.

        Raises:
            ValueError: There are windows and no ``grid``.
        """
        return self._project(self.mix(x, grid))

    def mix(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """See :class:`Attention`."""
        dropout = self.attn_drop if self.training else 0.0
        if self.window_size is None:
            return attend(self.qkv(x), self.num_heads, dropout)
        if grid is None:
            raise ValueError(
                f'window_size={self.window_size} cuts a map into windows, so grid, its height and width in patches, '
                'must be given. Take window_size=None for tokens that are no map.'
            )
        return attend_in_windows(self.qkv(x), grid, self.window_size, self.num_heads, dropout)


def attend(
    qkv: Tensor,
    num_heads: int,
    dropout: float,
    mask: Tensor | None = None,
    queries: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention of all tokens to all tokens.

    Args:
        qkv: (B, N, 3 * heads * D).
        num_heads: Number of heads.
        dropout: Dropout probability of the attention weights.
        mask: (B, 1, 1, N), True where a token may be attended to; or (1, heads, N, N), added to the products.
        queries: Keep the first so many tokens as queries; None for all.
        scale: What the products are multiplied by; None for the one of the heads' width.

    Returns:
        (B, queries, heads * D).
    """
    q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q[:, :, :queries], k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.transpose(1, 2).flatten(2)


@fx.wrap  # the number of windows goes with the size, which torch.fx cannot follow
def attend_in_windows(qkv: Tensor, grid: tuple[int, int], window: int, num_heads: int, dropout: float) -> Tensor:
    """Attention inside windows; see :class:`SelfAttention`.

    Args:
        qkv: (B, N, 3 * heads * D), the class token, if any, first.
        grid: Height and width in patches.
        window: Side of a window in patches.
        num_heads: Number of heads.
        dropout: Dropout probability of the attention weights.

    Returns:
        (B, N, heads * D).
    """
    if window >= max(grid) or not qkv.shape[0]:
        # one window over the whole image, or no image at all, is nothing to cut up
        return attend(qkv, num_heads, dropout)
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
    out = attend(tokens, num_heads, dropout, mask)[:, prefix:].unflatten(1, (window, window))
    out = window_unpartition(out, window, grid, padded).flatten(1, 2)
    return torch.cat((attend(qkv, num_heads, dropout, queries=prefix), out), dim=1) if prefix else out


class SpatialReductionAttention(Attention):
    """Multi-head attention over an H x W map with keys and values of a spatially reduced map.

    Args:
        dim: See :class:`Attention`.
        num_heads: See :class:`Attention`.
        head_dim: See :class:`Attention`.
        sr_ratio: Side of the reducing convolution, which is also its stride; 1 reduces nothing.
        linear: Pool the map to 7 x 7 in place of the reducing convolution (PVTv2's linear variant).
        token_bypass: See :class:`Attention`.
        attn_drop: See :class:`Attention`.
        proj_drop: See :class:`Attention`.

    Source: PVTv2 (arXiv 2106.13797, section 3) and the SS paper.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        sr_ratio: int = 1,
        linear: bool = False,
        token_bypass: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, head_dim, token_bypass=token_bypass, attn_drop=attn_drop, proj_drop=proj_drop)
        self.sr_ratio = sr_ratio
        self.linear = linear
        self.sr: nn.Conv2d | None = None
        if linear or sr_ratio > 1:
            side = 1 if linear else sr_ratio
            self.sr = nn.Conv2d(dim, dim, kernel_size=side, stride=side)
            self.norm = nn.LayerNorm(dim, eps=1e-5)

    def _make_inputs(self, dim: int, width: int) -> None:
        self.q = nn.Linear(dim, width)
        self.kv = nn.Linear(dim, 2 * width)

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """See :class:`Attention`. A scale and a shift commute with the pooling, and with a border that is repeated."""
        return [self.q, self.kv if self.sr is None else self.sr]

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """See :class:`Attention`."""
        return [(self.q, 0), (self.kv, 0), (self.kv, self.num_heads * self.head_dim)]

    def inner_norms(self) -> list[tuple[nn.LayerNorm, list[nn.Linear]]]:
        """See :class:`Attention`; in the linear variant a GELU stands between."""
        return [] if self.sr is None or self.linear else [(self.norm, [self.kv])]

    def smallest_map_side(self) -> int:
        """The side of the map from which on no kernel is larger than the map."""
        return 1 if self.sr is None or self.linear else self.sr_ratio

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        return self._project(self.mix(x)).unflatten(1, x.shape[1:3])

    def mix(self, x: Tensor) -> Tensor:
        """See :class:`Attention`."""
        q = self._heads(self.q(x))
        keys, values = self.kv(self._reduce(x)).chunk(2, dim=-1)
        dropout = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q, self._heads(keys), self._heads(values), dropout_p=dropout)
        return out.transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, H, W, heads * D) to a (B, heads, H * W, D) view."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _reduce(self, x: Tensor) -> Tensor:
        """The map that keys and values are made from, (B, H, W, C) to (B, h, w, C)."""
        if self.sr is None:
            return x
        image = x.permute(0, 3, 1, 2)  # a view: channels-last tokens are a channels-last image
        image = F.adaptive_avg_pool2d(image, _POOLED_SIDE) if self.linear else at_least(image, self.sr_ratio)
        reduced = self.norm(self.sr(image).permute(0, 2, 3, 1))
        return F.gelu(reduced) if self.linear else reduced


@fx.wrap  # torch.fx knows no sizes to decide by
def at_least(image: Tensor, side: int) -> Tensor:
    """(B, C, H, W) with the border repeated below and at the right, up to a height and width of ``side``."""
    lack_h, lack_w = side - image.shape[2], side - image.shape[3]
    if lack_h > 0 or lack_w > 0:
        # The map is smaller than the kernel: repeat its border rather than fail.
        return F.pad(image, (0, max(lack_w, 0), 0, max(lack_h, 0)), mode='replicate')
    return image


def attention_layers(model: nn.Module) -> Sequence[Attention]:
    """All attention inside a model, in order."""
    return [module for module in model.modules() if isinstance(module, Attention)]
