"""Attention inside the windows of a map, plain or shifted, with a bias for every relative position."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.layers import resize_rel_pos_bias_table_simple, trunc_normal_
from torch import Tensor, fx, nn

from . import chunking
from .attention import Attention, attend
from .chunking import chunks_pay
from .fast_paths import is_symbolic
from .windows import Windows, cut, flat_places, join, windows_of

# what they do goes with the size, which torch.fx cannot follow
fx.wrap('cut')
fx.wrap('join')

_KINDS = frozenset({nn.Linear, nn.Dropout})


class WindowAttention(Attention):
    """Multi-head attention of the tokens of a map to those of their window.

    The token bypass goes by raster order inside each window, padding included. See :func:`.windows.windows_of` for how
    a map is cut: where it is smaller than the window, one window of its size covers it, with the biases of the relative
    positions that there are in it.

    Args:
        dim: See :class:`Attention`.
        num_heads: See :class:`Attention`.
        head_dim: See :class:`Attention`.
        window_size: Height and width of the windows in tokens.
        shifted: Roll the map by half a window before it is cut, and back afterwards.
        scale: What the products of queries and keys are multiplied by; it does not go with the heads' width.
        token_bypass: See :class:`Attention`.
        attn_drop: See :class:`Attention`.
        proj_drop: See :class:`Attention`.

    Attributes:
        relative_position_bias_table: ((2 h - 1) * (2 w - 1), num_heads).

    Source: Swin (arXiv 2103.14030, section 3.2); the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    window_size: tuple[int, int]

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        window_size: tuple[int, int],
        shifted: bool,
        scale: float,
        token_bypass: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, head_dim, token_bypass=token_bypass, attn_drop=attn_drop, proj_drop=proj_drop)
        self.window_size, self.shifted, self._scale = window_size, shifted, scale
        self.relative_position_bias_table = nn.Parameter(torch.empty(table_length(window_size), num_heads))
        self.reset_parameters()

    def _make_inputs(self, dim: int, width: int) -> None:
        self.qkv = nn.Linear(dim, 3 * width)

    def reset_parameters(self) -> None:
        """Initialise the table of biases."""
        if not self.relative_position_bias_table.is_meta:
            trunc_normal_(self.relative_position_bias_table, std=0.02)

    @property
    def scale(self) -> float:
        """See :class:`Attention`."""
        return self._scale

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """See :class:`Attention`: between the norm and the queries, keys and values there is padding."""
        return []

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """See :class:`Attention`."""
        return [(self.qkv, i * self.num_heads * self.head_dim) for i in range(3)]

    def set_window_size(self, window_size: tuple[int, int]) -> None:
        """Take windows of another size, with a table that is resized from the own one (bicubic)."""
        if window_size != self.window_size:
            table = self.relative_position_bias_table
            resized = resize_table(table.detach(), window_size, self.window_size)
            self.relative_position_bias_table = nn.Parameter(resized, requires_grad=table.requires_grad)
            self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        if not is_symbolic(x) and chunks_pay(self, x, _KINDS):
            return self._in_chunks(x)
        return join(self._project(self._mix_windows(x)), x, self.window_size, self.shifted)

    def mix(self, x: Tensor) -> Tensor:
        """See :class:`Attention`."""
        return join(self._mix_windows(x), x, self.window_size, self.shifted).flatten(1, 2)

    def split(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Attention`: the last tokens of every window bypass the projection."""
        windows = windows_of(tokens, self.window_size, self.shifted)
        last = windows.back % windows.area >= windows.area - self.bypassing(windows.area)
        return x[:, ~last], x[:, last]

    def _mix_windows(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (windows * B, N, heads * D)."""
        qkv = self.qkv(cut(x, self.window_size, self.shifted))
        dropout = self.attn_drop if self.training else 0.0
        table, layout = self.relative_position_bias_table, (self.window_size, self.shifted)
        return _attend_by_kind(qkv, x, table, *layout, self.num_heads, dropout, self.scale)

    def _in_chunks(self, x: Tensor) -> Tensor:
        """:meth:`forward` some windows at a time, so that what lies between stays in the processor's cache."""
        windows = windows_of(x, self.window_size, self.shifted)
        index, padding, back = flat_places(x, self.window_size, self.shifted)
        tokens, area = x.flatten(0, 2), windows.area
        filled = index.new_zeros(len(index), dtype=torch.bool).index_fill_(0, padding, True)
        size = chunking.WITHOUT_HALO * chunking.CHUNK_BYTES
        most = max(1, size // (area * self.qkv.out_features * x.element_size()))
        out, first = None, 0
        for count, bias in _biases(windows, self.relative_position_bias_table, x.dtype):
            end = first + count * x.shape[0]
            for start in range(first, end, most):
                part = slice(start * area, min(start + most, end) * area)
                inside = tokens.index_select(0, index[part])
                if len(padding):
                    inside[filled[part]] = 0
                qkv = self.qkv(inside.unflatten(0, (-1, area)))
                mixed = self._project(attend(qkv, self.num_heads, 0.0, bias, scale=self.scale))
                if out is None:
                    out = mixed.new_empty(len(index), mixed.shape[-1])
                out[part] = mixed.flatten(0, 1)
            first = end
        return x if out is None else out.index_select(0, back).unflatten(0, x.shape[:3])


@fx.wrap
def _attend_by_kind(
    qkv: Tensor,
    x: Tensor,
    table: Tensor,
    window: tuple[int, int],
    shifted: bool,
    num_heads: int,
    dropout: float,
    scale: float,
) -> Tensor:
    """Attention inside windows: (windows * B, N, 3 * heads * D) to (windows * B, N, heads * D)."""
    if not qkv.shape[0]:
        return qkv[..., : qkv.shape[-1] // 3]
    windows = windows_of(x, window, shifted)
    parts, first = [], 0
    for count, bias in _biases(windows, table, qkv.dtype):
        part = qkv.unflatten(0, (windows.count, x.shape[0]))[first : first + count].flatten(0, 1)
        parts.append(attend(part, num_heads, dropout, bias, scale=scale))
        first += count
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _biases(windows: Windows, table: Tensor, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    """How many windows have which biases (1, heads, N, N), those of the positions and the mask in one."""
    area = windows.area
    bias = table.index_select(0, windows.positions).t().reshape(1, -1, area, area)
    for count, mask in windows.kinds:
        yield count, (bias if mask is None else bias + mask.to(bias.dtype)).to(dtype)


def table_length(window: tuple[int, int]) -> int:
    """How many relative positions there are in a window."""
    return (2 * window[0] - 1) * (2 * window[1] - 1)


def resize_table(table: Tensor, window: tuple[int, int], old: tuple[int, int]) -> Tensor:
    """A table of biases for windows of another size, bicubic, in float32 at least.

    Args:
        table: (relative positions, heads).
        window: The other height and width.
        old: Those of the table's.

    Source: the official code and mmdetection resize so.
    """
    exact = table if table.dtype == torch.float64 else table.float()
    rows, columns = (2 * side - 1 for side in window)
    by_head = exact.t().unflatten(1, (2 * old[0] - 1, 2 * old[1] - 1))
    resized = resize_rel_pos_bias_table_simple(by_head, window, (table.shape[1], rows, columns))
    return resized.flatten(1).t().contiguous().to(table.dtype)
