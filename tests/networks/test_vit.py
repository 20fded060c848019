"""What ViT has beside what test_backbones.py asks of every network."""

import numpy as np
import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

from ss_backbones import SSViT

SMALL = dict(embed_dim=32, depth=12, num_heads=2)  # tiny made narrower, for what any arch would show


def small(**arguments: object) -> SSViT:
    return SSViT(arch=SMALL, **arguments)


def test_blocks_of_each_quarter_by_default() -> None:
    assert small(pyramid=False).out_indices == (2, 5, 8, 11)
    assert SSViT(dict(SMALL, depth=1), pyramid=False).out_indices == (0,)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 7, 12])
def test_frozen_stages_are_the_blocks(frozen: int) -> None:
    model = small(frozen_stages=frozen, drop_path_rate=0.5)
    for _ in range(2):  # first as built, then after train()
        for name, parameter in model.named_parameters():
            part = name.split('.')
            depth = {'blocks': int(part[1]) + 1 if part[0] == 'blocks' else 0, 'norm': 12, 'pyramid': 13}
            assert parameter.requires_grad == (depth.get(part[0], 0) > frozen), (frozen, name)
        assert model.train() is model
        assert [block.training for block in model.blocks] == [i >= frozen for i in range(12)]


def test_the_norm_is_frozen_with_all_blocks_whichever_levels_are_wanted() -> None:
    for levels in ((0, 1, 2, 3), (0, 2)):
        assert not any(p.requires_grad for p in small(frozen_stages=12, out_indices=levels).norm.parameters()), levels
    # blocks that out_indices leaves out cannot be frozen, and there is no norm then
    model = small(frozen_stages=12, pyramid=False, out_indices=5)
    assert not any(p.requires_grad for p in model.parameters())


def test_patches_of_another_size() -> None:
    model = SSViT(dict(SMALL, patch_size=4), img_size=32, in_channels=4).eval()
    assert model.strides == [1, 2, 4, 8] and model.grid == (8, 8)
    assert [m.shape[2:] for m in model(torch.randn(1, 4, 30, 32))] == [(30, 32), (15, 16), (8, 8), (4, 4)]
    assert SSViT(SMALL, img_size=(800, 1333)).grid == (50, 84) and SSViT(SMALL, img_size=(96,)).img_size == (96, 96)


def test_initialisation_follows_the_paper() -> None:
    model = SSViT('tiny')
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05) and model.cls_token.abs().max() < 1e-5
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.12) and not module.bias.any()


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


def test_windows_in_all_blocks() -> None:
    assert [block.attn.window_size for block in small(window_size=2, global_blocks=[]).blocks] == [2] * 12


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(arch=dict(embed_dim=8, depth=2)), r"lacks \['num_heads'\]"),
        (dict(arch=dict(SMALL, heads=2)), r"unknown keys \['heads'\]"),
        (dict(arch=dict(SMALL, num_heads=3)), 'a width of 32 cannot be shared by 3 heads'),
        (dict(arch=dict(SMALL, depth=0)), 'arch: depth=0 must be a whole number, 1 or more'),
        (dict(arch=dict(SMALL, mlp_ratio='4')), "mlp_ratio='4' must be a finite number"),
        (dict(arch=dict(SMALL, patch_size=14)), 'patch_size=14 cannot be quartered'),
        (dict(arch=dict(embed_dim=2, depth=1, num_heads=1)), 'A pyramid quarters the channels'),
        (dict(out_indices=4), 'out of range. There are 4 levels of the pyramid: 0 to 3'),
        (dict(pyramid=False, out_indices=12), 'out of range. There are 12 blocks: 0 to 11'),
        (dict(window_size=0), 'window_size=0 must be a whole number, 1 or more'),
        (dict(window_size=-7), 'window_size=-7 must be'),
        (dict(window_size=7.5), 'window_size=7.5 must be'),
        (dict(window_size=True), 'window_size=True must be'),
        (dict(window_size=(7, 7)), r'window_size=\(7, 7\) must be'),
        (dict(window_size=7, global_blocks=(5, 12)), 'global_blocks=.*: 12 is out of range'),
        (dict(window_size=7, global_blocks=-13), 'global_blocks=-13: -13 is out of range'),
        (dict(window_size=7, global_blocks='all'), "global_blocks='all' must be a whole number or a list"),
        (dict(global_blocks=(2, 5)), r'global_blocks=\(2, 5\) says .* give window_size as well'),
        (dict(frozen_stages=13), 'frozen_stages=13 is out .* up to 12 the stem and so many blocks'),
        (dict(img_size=0), 'img_size=0 must be'),
        (dict(img_size=(224, 224, 3)), r'img_size=\(224, 224, 3\) must be a number of pixels, or height and width'),
        (dict(img_size='224'), "img_size='224' must be"),
        (dict(class_token='no'), "class_token='no' must be True or False"),
        (dict(pyramid='no'), "pyramid='no' must be 'simple', 'blocks', True or False"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SSViT(**{'arch': SMALL, **arguments})
