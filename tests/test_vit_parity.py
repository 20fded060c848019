"""What makes a backbone of a ViT, against plain and slow re-computations."""

import numpy as np
import pytest
import torch
from plain_attention import attend_plainly
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones import BlockSetting, SSViT
from ss_backbones.layers import SelfAttention, SimpleFeaturePyramid

SETTINGS = [BlockSetting(), BlockSetting(attn_ratio=0.5), BlockSetting(attn_split=0.25), BlockSetting(attn_split=0.6)]


def plain_attention(
    attn: SelfAttention, x: Tensor, setting: BlockSetting, grid: tuple[int, int], window: int, class_token: bool
) -> Tensor:
    """Attention with the whole matrix written out, and what each token may see looked up pair by pair."""
    where = [(row // window, column // window) for row in range(grid[0]) for column in range(grid[1])]
    if class_token:
        where = [None, *where]
    sees = torch.tensor([[a is None or b is None or a == b for b in where] for a in where])
    q, k, v = F.linear(x, attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)
    return attend_plainly(q, k, v, attn.num_heads, attn.proj, setting.attn_split, sees)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('window', [None, 1, 3, 4, 9])
@pytest.mark.parametrize('grid', [(6, 9), (7, 5), (1, 1), (2, 11)])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_attention_is_the_plain_one(
    setting: BlockSetting, grid: tuple[int, int], window: int | None, class_token: bool
) -> None:
    attn = SelfAttention(12, 3, setting, window_size=window).double()
    x = torch.randn(2, class_token + grid[0] * grid[1], 12, dtype=torch.float64, requires_grad=True)
    ours, plain = attn(x, grid), plain_attention(attn, x, setting, grid, window or 99, class_token)
    torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)
    inputs, probe = [x, *attn.parameters()], torch.randn_like(ours)
    for ours_grad, plain_grad in zip(
        torch.autograd.grad((ours * probe).sum(), inputs),
        torch.autograd.grad((plain * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours_grad, plain_grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('size', [(224, 224), (100, 150)])
def test_a_window_over_the_whole_image_is_global_attention(size: tuple[int, int]) -> None:
    arch = dict(embed_dim=24, depth=6, num_heads=2)
    plain = SSViT(arch).double().eval()
    windowed = SSViT(arch, window_size=14).double().eval()
    narrow = SSViT(arch, window_size=5, global_blocks=(2, 5)).double().eval()
    for other in (windowed, narrow):
        other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(windowed(x), plain(x), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert (narrow(x)[2] - plain(x)[2]).abs().max() > 1e-6  # or the windows would do nothing
    assert [block.attn.window_size for block in narrow.blocks] == [5, 5, None, 5, 5, None]


def bicubic(table: np.ndarray, new: int, axis: int) -> np.ndarray:
    """Bicubic resizing along one axis, entry by entry: a = -0.5, wider kernel when shrinking, weights normalised."""
    old = table.shape[axis]
    step = old / new
    stretch = max(step, 1.0)
    table = np.moveaxis(table, axis, 0)
    out = np.zeros((new, *table.shape[1:]))
    for i in range(new):
        total = 0.0
        for j in range(old):
            t = abs((j + 0.5 - (i + 0.5) * step) / stretch)
            weight = 1.5 * t**3 - 2.5 * t**2 + 1 if t < 1 else -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0
            out[i] += weight * table[j]
            total += weight
        out[i] /= total
    return np.moveaxis(out, 0, axis)


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize('size', [(224, 224), (320, 256), (800, 1333), (64, 96), (1, 1)])
def test_positions_are_resized(size: tuple[int, int], class_token: bool) -> None:
    model = SSViT(dict(embed_dim=8, depth=1, num_heads=1), class_token=class_token, pyramid=False).eval()
    for parameter in (model.patch_embed.proj.weight, model.patch_embed.proj.bias):
        nn.init.zeros_(parameter)  # so that nothing but the positions (and the class token) enters the first block
    if class_token:
        nn.init.zeros_(model.cls_token)
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.randn(1, 3, *size))
    table = model.pos_embed.detach().numpy()[0].astype(np.float64)
    rows = table[int(class_token) :].reshape(14, 14, 8)
    grid = -(-size[0] // 16), -(-size[1] // 16)
    expected = bicubic(bicubic(rows, grid[0], 0), grid[1], 1).reshape(-1, 8)
    if class_token:
        expected = np.concatenate((table[:1], expected))
    np.testing.assert_allclose(seen[0][0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_positions_keep_their_precision_in_bf16() -> None:
    table = torch.randn(1, 5, 4).bfloat16()
    ours = resample_abs_pos_embed(table, [3, 3], [2, 2])
    torch.testing.assert_close(ours, resample_abs_pos_embed(table.float(), [3, 3], [2, 2]).bfloat16(), rtol=0, atol=0)


def plain_doubling(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed 2 x 2 convolution with stride 2, pixel by pixel."""
    b, _, h, w = x.shape
    out = x.new_zeros(b, conv.out_channels, 2 * h, 2 * w)
    for i in range(2 * h):
        for j in range(2 * w):
            out[:, :, i, j] = x[:, :, i // 2, j // 2] @ conv.weight[:, :, i % 2, j % 2] + conv.bias
    return out


def test_the_pyramid_is_the_plain_one() -> None:
    pyramid = SimpleFeaturePyramid(12, range(4)).double()
    for parameter in pyramid.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64)
    finest = pyramid.levels['0']
    half = plain_doubling(finest[0], x)
    mean, var = half.mean(1, keepdim=True), half.var(1, keepdim=True, unbiased=False)
    scaled = (half - mean) / (var + 1e-6).sqrt() * finest[1].weight[:, None, None] + finest[1].bias[:, None, None]
    lowest = torch.stack(
        [
            torch.stack([x[:, :, i : i + 2, j : j + 2].amax(dim=(2, 3)) for j in range(0, 5, 2)], dim=2)
            for i in range(0, 3, 2)
        ],
        dim=2,
    )
    expected = [plain_doubling(finest[3], F.gelu(scaled)), plain_doubling(pyramid.levels['1'], x), x, lowest]
    for ours, plain, channels in zip(pyramid(x), expected, pyramid.channels, strict=True):
        assert ours.shape[1] == channels
        torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)


def test_maps_are_the_tokens_in_their_places() -> None:
    model = SSViT(dict(embed_dim=16, depth=4, num_heads=2)).double().eval()
    x = torch.randn(2, 3, 40, 70, dtype=torch.float64)
    with torch.no_grad():
        tokens, after = model.forward_tokens(x, after=(1, 3))
        third = model(x)[2]
        for row in range(3):
            for column in range(5):
                torch.testing.assert_close(third[:, :, row, column], tokens[:, 1 + 5 * row + column])
        blocks = SSViT(dict(embed_dim=16, depth=4, num_heads=2), pyramid=False, out_indices=(1, 3)).double().eval()
        blocks.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith(('norm', 'pyramid'))})
        for ours, theirs in zip(blocks(x), after, strict=True):
            torch.testing.assert_close(ours.flatten(2), theirs[:, 1:].transpose(1, 2))
