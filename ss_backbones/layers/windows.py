"""Maps cut into windows, shifted or not, and put together again; what follows from a size alone is made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .fast_paths import is_traced

_APART = -100.0  # added to the products of tokens that a shift has made neighbours though they are not
_KEPT = 64  # layouts: 8 for each size of images that four stages of plain and shifted windows see


@dataclass(frozen=True)
class Windows:
    """How a map is cut into W windows of N tokens; those that have the same mask follow one another.

    Args:
        shape: Height and width of a window: those of the map, where it is smaller.
        index: (W * N,), the place of every token of the windows among the tokens of the map; 0 for padding.
        padding: The places of padding among the tokens of the windows.
        back: (H * W,), the place of every token of the map among the tokens of the windows.
        kinds: For each mask how many windows have it, and the mask (N, N), 0 where a token may be attended to; None
            where all may.
        positions: (N * N,), the relative positions of each two tokens, as places in the table of a whole window.
    """

    shape: tuple[int, int]
    index: Tensor
    padding: Tensor
    back: Tensor
    kinds: tuple[tuple[int, Tensor | None], ...]
    positions: Tensor

    @property
    def area(self) -> int:
        """N."""
        return self.shape[0] * self.shape[1]

    @property
    def count(self) -> int:
        """W."""
        return sum(count for count, _ in self.kinds)


def windows_of(x: Tensor, window: tuple[int, int], shifted: bool) -> Windows:
    """How maps (B, H, W, C) are cut into windows.

    In each direction in which the map is larger than the window it is filled up at its end to a multiple of the window
    and, if ``shifted``, rolled by half a window; in the others one window covers it, and there is no shift. Padding may
    be attended to, as in the official code.

    Source: Swin (arXiv 2103.14030, section 3.2).
    """
    return _layout(*x.shape[1:3], *window, shifted, x.device)


def _layout(*key: object) -> Windows:
    return (_kept if _may_be_kept() else _make)(*key)


def _may_be_kept() -> bool:
    """Whether tensors are made that others can use: a tracer's are its own."""
    return not is_traced() and type(torch.empty(0)) is Tensor


@lru_cache(_KEPT)
def _kept(*key: object) -> Windows:
    with torch.inference_mode(False):  # tensors of this mode would be refused by the next backward pass
        return _make(*key)


def _make(height: int, width: int, window_h: int, window_w: int, shifted: bool, device: torch.device) -> Windows:
    (rows, down), (columns, right) = (
        _along(size, window, shifted, device) for size, window in ((height, window_h), (width, window_w))
    )
    # (windows down, windows across, their height, their width), above all places for padding
    places = rows[:, None, :, None] * width + columns[None, :, None, :]
    real = (rows < height)[:, None, :, None] & (columns < width)[None, :, None, :]
    places = torch.where(real, places, height * width)
    whole = (len(rows) - bool(down), len(columns) - bool(right))
    parts = [
        (places[top, left].flatten(0, 1), _mask(rows.shape[1], columns.shape[1], down * last, right * at_end, device))
        for top, last in ((slice(None, whole[0]), False), (slice(whole[0], None), True))
        for left, at_end in ((slice(None, whole[1]), False), (slice(whole[1], None), True))
    ]
    parts = [(part, mask) for part, mask in parts if len(part)]
    index = torch.cat([part for part, _ in parts]).flatten()
    back, padding = index.argsort().tensor_split((height * width,))
    kinds = tuple((len(part), mask) for part, mask in parts)
    shape = (rows.shape[1], columns.shape[1])
    positions = _relative_positions(shape, (window_h, window_w), device)
    return Windows(shape, index.index_fill(0, padding, 0), padding, back, kinds, positions)


def flat_places(x: Tensor, window: tuple[int, int], shifted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """``index``, ``padding`` and ``back`` of :class:`Windows` for all B maps at once.

    They are places among (B * H * W) tokens of maps and (W * B * N) tokens of windows.
    """
    return (_kept_places if _may_be_kept() else _make_places)(*x.shape[:3], *window, shifted, x.device)


@lru_cache(_KEPT)
def _kept_places(*key: object) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode(False):
        return _make_places(*key)


def _make_places(batch: int, *key: object) -> tuple[Tensor, Tensor, Tensor]:
    windows, size = _layout(*key), key[0] * key[1]
    images = torch.arange(batch, device=windows.index.device)[:, None]
    index = (windows.index.unflatten(0, (-1, 1, windows.area)) + images * size).flatten()
    padding, back = (
        ((place // windows.area) * batch + images) * windows.area + place % windows.area
        for place in (windows.padding, windows.back)
    )
    return index, padding.flatten(), back.flatten()


def _along(size: int, window: int, shifted: bool, device: torch.device) -> tuple[Tensor, int]:
    """The places (windows, window) in one direction, above the size for padding, and the shift."""
    if size <= window:
        return torch.arange(size, device=device)[None], 0
    shift = window // 2 if shifted else 0
    places = torch.arange(-(-size // window) * window, device=device).roll(-shift)
    return places.unflatten(0, (-1, window)), shift


def _mask(height: int, width: int, down: int, right: int, device: torch.device) -> Tensor | None:
    """(N, N) for a window whose last rows and columns, so many, come from the other side of the map."""
    if not down and not right:
        return None
    rows, columns = (
        torch.arange(size, device=device) >= size - over for size, over in ((height, down), (width, right))
    )
    part = (2 * rows[:, None] + columns).flatten()
    return torch.where(part[:, None] == part, 0.0, _APART)


def _relative_positions(shape: tuple[int, int], window: tuple[int, int], device: torch.device) -> Tensor:
    """(N * N,), where in the table of a window the biases stand for each two of N tokens in raster order.

    Args:
        shape: Height and width that these tokens fill, not above the window's.
        window: The window that the table is made for.
        device: Where the result is needed.
    """
    rows, columns = (torch.arange(side, device=device) for side in shape)
    rows, columns = (rows[:, None] + 0 * columns).flatten(), (0 * rows[:, None] + columns).flatten()
    down = rows[:, None] - rows + window[0] - 1
    right = columns[:, None] - columns + window[1] - 1
    return (down * (2 * window[1] - 1) + right).flatten()


class _Cut(torch.autograd.Function):
    """Tokens (M, C) to those of windows (K, C): every one goes to one place, and padding is 0.

    A function of its own, because the gradient is then taken from these places. torch would add it up, one token after
    the other, not knowing that there is one place for each.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, index: Tensor, padding: Tensor, back: Tensor) -> Tensor:
        return tokens.index_select(0, index).index_fill_(0, padding, 0)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN001
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN001
        return _Join.apply(grad, *ctx.saved_tensors), None, None, None


class _Join(torch.autograd.Function):
    """The other way round; padding is dropped."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, index: Tensor, padding: Tensor, back: Tensor) -> Tensor:
        return tokens.index_select(0, back)

    setup_context = _Cut.setup_context

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN001
        return _Cut.apply(grad, *ctx.saved_tensors), None, None, None


def cut(x: Tensor, window: tuple[int, int], shifted: bool) -> Tensor:
    """Maps (B, H, W, C) to the tokens of windows (windows * B, N, C), the images of the batch side by side."""
    if not is_traced():
        area = windows_of(x, window, shifted).area
        return _Cut.apply(x.flatten(0, 2), *flat_places(x, window, shifted)).unflatten(0, (-1, area))
    windows = windows_of(x, window, shifted)
    tokens = x.flatten(1, 2).index_select(1, windows.index)
    if len(windows.padding):
        tokens = tokens.index_fill(1, windows.padding, 0)
    return tokens.unflatten(1, (windows.count, windows.area)).transpose(0, 1).flatten(0, 1)


def join(tokens: Tensor, x: Tensor, window: tuple[int, int], shifted: bool) -> Tensor:
    """The tokens of windows (windows * B, N, D) to maps (B, H, W, D); ``x`` is what these windows were cut from."""
    if not is_traced():
        joined = _Join.apply(tokens.flatten(0, 1), *flat_places(x, window, shifted))
        return joined.unflatten(0, x.shape[:3])
    windows = windows_of(x, window, shifted)
    tokens = tokens.unflatten(0, (windows.count, x.shape[0])).transpose(0, 1).flatten(1, 2)
    return tokens.index_select(1, windows.back).unflatten(1, x.shape[1:3])
