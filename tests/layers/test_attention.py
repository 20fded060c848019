"""Attention of every kind with the whole matrix written out."""

import pytest
import torch
from plain_layers import SETTINGS, assert_same_gradients, attend_plainly
from torch import Tensor
from torch.nn import functional as F

from ss_backbones import BlockSetting
from ss_backbones.layers import SelfAttention, SpatialReductionAttention

TOKENS = [BlockSetting(), BlockSetting(attn_ratio=0.5), BlockSetting(attn_split=0.25), BlockSetting(attn_split=0.6)]


def windowed_plainly(
    attn: SelfAttention, x: Tensor, setting: BlockSetting, grid: tuple[int, int], window: int, class_token: bool
) -> Tensor:
    """What each token may see is looked up pair by pair."""
    where = [(row // window, column // window) for row in range(grid[0]) for column in range(grid[1])]
    if class_token:
        where = [None, *where]
    sees = torch.tensor([[a is None or b is None or a == b for b in where] for a in where])
    q, k, v = F.linear(x, attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)
    return attend_plainly(q, k, v, attn.num_heads, attn.proj, setting.attn_split, sees)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('window', [None, 1, 3, 4, 9])
@pytest.mark.parametrize('grid', [(6, 9), (7, 5), (1, 1), (2, 11)])
@pytest.mark.parametrize('setting', TOKENS, ids=repr)
def test_self_attention(setting: BlockSetting, grid: tuple[int, int], window: int | None, class_token: bool) -> None:
    width = int(4 * setting.attn_ratio)
    attn = SelfAttention(12, 3, width, window_size=window, token_bypass=setting.attn_split).double()
    x = torch.randn(2, class_token + grid[0] * grid[1], 12, dtype=torch.float64, requires_grad=True)
    plain = windowed_plainly(attn, x, setting, grid, window or 99, class_token)
    assert_same_gradients(attn(x, grid), plain, [x, *attn.parameters()])


def test_tokens_that_are_no_map_need_no_grid() -> None:
    attn, x = SelfAttention(12, 3, 4, token_bypass=0.25), torch.randn(2, 7, 12)
    assert torch.equal(attn(x), attn(x, (1, 7)))
    with pytest.raises(ValueError, match='window_size=2 cuts a map into windows, so grid'):
        SelfAttention(12, 3, 4, window_size=2)(x)


@pytest.mark.parametrize(
    ('sizes', 'bypass', 'text'),
    [
        ((12, 3, 0), 0.0, 'head_dim=0 must all be 1 or more'),
        ((12, 3, 4), 1.0, r'must lie in \[0, 1\)'),
        ((12, 3, 4), -0.1, r'must lie in \[0, 1\)'),
        ((12, 3, 2), 0.25, '3 heads of 2 channels, must be dim=12'),
    ],
)
def test_impossible_numbers_are_refused(sizes: tuple[int, int, int], bypass: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SelfAttention(*sizes, token_bypass=bypass)


def reduced_plainly(attn: SpatialReductionAttention, x: Tensor, setting: BlockSetting) -> Tensor:
    b, h, w, c = x.shape
    tokens = x.reshape(b, h * w, c)
    source = tokens
    if attn.sr is not None:
        image = x.permute(0, 3, 1, 2).contiguous()
        if attn.linear:
            image = F.adaptive_avg_pool2d(image, 7)
        image = F.conv2d(image, attn.sr.weight, attn.sr.bias, stride=attn.sr.stride)
        source = F.layer_norm(image.flatten(2).transpose(1, 2), (c,), attn.norm.weight, attn.norm.bias, 1e-5)
        if attn.linear:
            source = F.gelu(source)
    q = F.linear(tokens, attn.q.weight, attn.q.bias)
    k, v = F.linear(source, attn.kv.weight, attn.kv.bias).split(q.shape[-1], dim=-1)
    out = attend_plainly(q, k, v, attn.num_heads, attn.proj, setting.attn_split)
    return out.reshape(b, h, w, c)


@pytest.mark.parametrize(('sr_ratio', 'linear'), [(1, False), (2, False), (8, False), (4, True)])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_spatial_reduction_attention(setting: BlockSetting, sr_ratio: int, linear: bool) -> None:
    attn = SpatialReductionAttention(
        32, 2, int(16 * setting.attn_ratio), sr_ratio=sr_ratio, linear=linear, token_bypass=setting.attn_split
    ).double()
    x = torch.randn(2, 9, 13, 32, dtype=torch.float64, requires_grad=True)
    assert_same_gradients(attn(x), reduced_plainly(attn, x, setting), [x, *attn.parameters()])


def test_a_map_smaller_than_the_reduction_repeats_its_border() -> None:
    attn = SpatialReductionAttention(16, 1, 16, sr_ratio=4).double()
    x = torch.randn(1, 3, 6, 16, dtype=torch.float64)
    below = torch.cat((x, x[:, -1:]), dim=1)  # one row more, the last one again; the width is enough
    torch.testing.assert_close(attn(x), attn(below)[:, :3], rtol=1e-12, atol=1e-12)
