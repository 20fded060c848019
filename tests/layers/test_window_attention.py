"""Attention in windows against a re-computation window by window and token by token."""

import pytest
import torch
from plain_layers import assert_same_gradients, attend_plainly
from torch import Tensor
from torch.nn import functional as F

from ss_backbones import BlockSetting
from ss_backbones.layers import WindowAttention, chunking, windows
from ss_backbones.layers.window_attention import resize_table

SETTINGS = [BlockSetting(), BlockSetting(attn_ratio=0.5), BlockSetting(attn_split=0.25), BlockSetting(attn_split=0.6)]
MAPS = [(1, 1), (3, 9), (4, 4), (8, 6), (7, 10)]
WINDOWS = [(4, 4), (3, 5)]


def make(setting: BlockSetting, window: tuple[int, int], shifted: bool) -> WindowAttention:
    width = int(4 * setting.attn_ratio)
    attn = WindowAttention(
        12, 3, width, window_size=window, shifted=shifted, scale=0.5, token_bypass=setting.attn_split
    ).double()
    with torch.no_grad():
        attn.relative_position_bias_table.normal_()
    return attn


def places(size: int, window: int, shifted: bool) -> list[list[tuple[int, bool]]]:
    """Along one side, window by window: where each token comes from, and whether it went round the end of the map."""
    if size <= window:
        return [[(i, False) for i in range(size)]]
    filled, shift = size + -size % window, window // 2 if shifted else 0
    rolled = [((i + shift) % filled, i + shift >= filled) for i in range(filled)]
    return [rolled[i : i + window] for i in range(0, filled, window)]


def plainly(attn: WindowAttention, x: Tensor, setting: BlockSetting) -> Tensor:
    (height, width), (window_h, window_w) = x.shape[1:3], attn.window_size
    table = attn.relative_position_bias_table.reshape(2 * window_h - 1, 2 * window_w - 1, -1)
    found: dict[tuple[int, int], Tensor] = {}
    for rows in places(height, window_h, attn.shifted):
        for columns in places(width, window_w, attn.shifted):
            tokens = [(i, j, *row, *column) for i, row in enumerate(rows) for j, column in enumerate(columns)]
            empty = torch.zeros_like(x[:, 0, 0])
            inside = [x[:, r, c] if r < height and c < width else empty for _, _, r, _, c, _ in tokens]
            q, k, v = F.linear(torch.stack(inside, 1), attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)
            bias = torch.stack(
                [
                    torch.stack([table[a[0] - b[0] + window_h - 1, a[1] - b[1] + window_w - 1] for b in tokens])
                    for a in tokens
                ]
            ).permute(2, 0, 1)
            sees = torch.tensor([[a[3::2] == b[3::2] for b in tokens] for a in tokens])
            out = attend_plainly(q, k, v, 3, attn.proj, setting.attn_split, sees, bias, 0.5)
            found |= {(r, c): out[:, n] for n, (_, _, r, _, c, _) in enumerate(tokens)}
    return torch.stack([torch.stack([found[r, c] for c in range(width)], 1) for r in range(height)], 1)


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('window', WINDOWS, ids=str)
@pytest.mark.parametrize('size', MAPS, ids=str)
def test_windows_and_their_gradients(
    size: tuple[int, int], window: tuple[int, int], shifted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in SETTINGS:
        attn = make(setting, window, shifted)
        x = torch.randn(2, *size, 12, dtype=torch.float64, requires_grad=True)
        plain = plainly(attn, x, setting)
        assert_same_gradients(attn(x), plain, [x, *attn.parameters()])
        attn.eval()
        for at_once in (0, 4000, chunking.CHUNK_BYTES):  # one window, some, all
            monkeypatch.setattr(chunking, 'CHUNK_BYTES', at_once)
            with torch.inference_mode():
                torch.testing.assert_close(attn(x), plain, rtol=1e-10, atol=1e-10)
        monkeypatch.undo()


def test_the_gradient_of_the_gradient() -> None:
    attn = make(SETTINGS[2], (2, 2), True)
    x = torch.randn(1, 3, 2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(attn, (x,), fast_mode=True)


@pytest.mark.parametrize('shifted', [False, True])
def test_which_tokens_bypass(shifted: bool) -> None:
    setting = BlockSetting(attn_split=0.25)
    attn, x = make(setting, (4, 4), shifted), torch.randn(2, 7, 10, 12, dtype=torch.float64)
    mixed = attn.mix(x)
    first, last = attn.split(attn(x).flatten(1, 2), x)
    mixed_first, mixed_last = attn.split(mixed, x)
    assert first.shape[1] + last.shape[1] == 70 and last.shape[1] >= 10
    assert torch.equal(last, mixed_last)
    torch.testing.assert_close(first, attn.proj(mixed_first))


def test_layouts_are_made_once_for_a_size_and_serve_training_after_inference() -> None:
    windows._kept.cache_clear()
    attn, other = make(SETTINGS[0], (4, 4), True), make(SETTINGS[1], (4, 4), True)
    with torch.inference_mode():
        attn(torch.randn(2, 7, 10, 12, dtype=torch.float64))
    for layer in (attn, other):
        layer(torch.randn(2, 7, 10, 12, dtype=torch.float64)).sum().backward()
    assert windows._kept.cache_info().misses == 1
    assert windows._kept.cache_info().maxsize < 1000


def test_a_resized_table_is_bicubic_row_by_row() -> None:
    table = torch.randn(25, 2)
    resized = resize_table(table, (5, 2), (3, 3))
    expected = F.interpolate(table.t().reshape(1, 2, 5, 5), size=(9, 3), mode='bicubic').flatten(2)[0].t()
    torch.testing.assert_close(resized, expected)
    assert torch.equal(resize_table(table, (3, 3), (3, 3)), table)
    attn = make(SETTINGS[0], (3, 3), True)
    attn.requires_grad_(False)
    attn.set_window_size((5, 2))
    assert attn.relative_position_bias_table.shape == (27, 3) and not attn.relative_position_bias_table.requires_grad
    assert attn(torch.randn(1, 7, 5, 12, dtype=torch.float64)).shape == (1, 7, 5, 12)
