"""What Swin has beside what test_backbones.py asks of every network."""

import re

import pytest
import torch
from small_networks import noisy
from torch import nn

from ss_backbones import SSSwin, load_weights
from ss_backbones.layers import WindowAttention, windows

SMALL = dict(embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))


def small(**arguments: object) -> SSSwin:
    return SSSwin(**{'arch': SMALL, 'window_size': 4, **arguments})


def mmdets(**arguments: object) -> nn.Module:
    """mmdetection's own, as SMALL with windows of 4 x 4."""
    options = dict(embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=4, drop_path_rate=0.0)
    theirs = noisy(pytest.importorskip('mmdet.models.backbones').SwinTransformer(**{**options, **arguments})).double()
    theirs.eval()
    return theirs


@pytest.mark.parametrize('size', [(160, 224), (131, 250)], ids=str)
def test_plain_maps_are_mmdetections_at_any_size(size: tuple[int, int]) -> None:
    theirs, ours = mmdets(), small(settings='uniform').double().eval()
    assert load_weights(ours, theirs.state_dict()).share == 1
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for mine, wanted in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9)


def test_layouts_are_made_once_for_a_size_and_not_once_for_a_block() -> None:
    model = SSSwin(dict(SMALL, depths=(2, 4, 4, 2)), window_size=4).eval()
    windows._kept.cache_clear()
    for _ in range(2):
        model(torch.randn(1, 3, 128, 160))
    assert windows._kept.cache_info().misses == 4 * 2


def test_every_second_block_is_shifted_and_the_scale_stays() -> None:
    model = SSSwin('tiny')
    for stage, dim, heads in zip(model.layers, (96, 192, 384, 768), (3, 6, 12, 24), strict=True):
        assert [block.attn.shifted for block in stage.blocks] == [False, True] * (len(stage.blocks) // 2)
        assert {block.attn.scale for block in stage.blocks} == {(dim / heads) ** -0.5}
    assert model.layers[0].blocks[0].attn.head_dim == 16


def test_windows_are_those_of_the_maps_where_these_are_smaller() -> None:
    sides = [stage.blocks[0].attn.window_size for stage in small(img_size=(64, 224), window_size=7).layers]
    assert sides == [(7, 7), (7, 7), (4, 7), (2, 7)]
    assert small(window_size=(3, 5)).layers[0].blocks[0].attn.window_size == (3, 5)
    assert {len(a.relative_position_bias_table) for a in _attention(SSSwin('tiny'))} == {169}
    assert {len(a.relative_position_bias_table) for a in _attention(small(img_size=384, window_size=12))} == {529}


def _attention(model: nn.Module) -> list[WindowAttention]:
    return [module for module in model.modules() if isinstance(module, WindowAttention)]


@pytest.mark.parametrize('side', [8, 12, 16])
def test_a_map_that_one_window_covers_is_not_shifted(side: int) -> None:
    model = small(settings='uniform', window_size=4).double().eval()
    shifted = model.layers[0].blocks[1].attn
    x = torch.randn(1, side // 4, side // 4, 16, dtype=torch.float64)
    before = shifted(x)
    shifted.shifted = False
    torch.testing.assert_close(shifted(x), before)


def test_each_map_has_its_norm_and_the_last_is_the_classifiers() -> None:
    model = small()
    assert [name for name, m in model.named_children() if name.startswith('norm')] == [
        'norm0', 'norm1', 'norm2', 'norm'
    ]  # fmt: skip
    assert {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    partly = small(out_indices=(0, 2))
    assert partly.layers[2].downsample is None and not hasattr(partly, 'norm1') and not hasattr(partly, 'norm')
    assert partly.layers[1].downsample is not None


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages_are_the_stages_with_their_merging_and_norm(frozen: int) -> None:
    for name, parameter in small(frozen_stages=frozen).named_parameters():
        place = re.match(r'(?:layers\.|norm)(\d)\.', name)
        part = 0 if name.startswith('patch_embed.') else int(place[1]) + 1 if place else 4
        assert parameter.requires_grad == (part > frozen), name


def test_a_merging_and_a_norm_learn_with_the_block_before_them() -> None:
    model = small()
    names = ['layers.1.downsample.norm.weight', 'layers.1.downsample.reduction.weight', 'norm1.bias', 'norm.weight']
    assert [model.get_layer_depth(name) for name in names] == [(4, 10), (4, 10), (4, 10), (8, 10)]
    assert all(name.endswith('.relative_position_bias_table') for name in model.no_weight_decay())
    assert len(model.no_weight_decay()) == 8


def test_initialisation_follows_the_paper() -> None:
    model = SSSwin('tiny')
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.12)
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, WindowAttention):
            assert module.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.2)


def test_other_windows_keep_what_the_tables_say() -> None:
    model = small(img_size=64, window_size=4).eval()
    model.requires_grad_(False)
    table = model.layers[0].blocks[0].attn.relative_position_bias_table
    model.resize_windows(img_size=60)
    assert model.layers[0].blocks[0].attn.relative_position_bias_table is table and model.img_size == (60, 60)
    model.resize_windows(img_size=(128, 64), window_size=5)
    assert [stage.blocks[0].attn.window_size for stage in model.layers] == [(5, 5), (5, 5), (5, 4), (4, 2)]
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match='img_size=0 must be'):
        model.resize_windows(img_size=0, window_size=9)
    assert model.window_size == (5, 5)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(arch='large'), "arch='large' is unknown. Known are tiny, small, base"),
        (dict(arch=dict(SMALL, width=3)), r"unknown keys \['width'\]"),
        (dict(arch=dict(embed_dim=8, depths=(1, 1))), 'needs one entry a stage, as depths'),
        (dict(arch=dict(SMALL, num_heads=(1, 2, 3, 8))), 'a width of 64 cannot be shared by 3 heads'),
        (dict(arch=dict(SMALL, embed_dim=(96, 192))), r'arch: embed_dim=\(96, 192\) must be a whole number'),
        (dict(arch=dict(SMALL, depths=(1, 0, 1, 1))), 'must hold positive whole numbers'),
        (dict(arch=dict(SMALL, mlp_ratio=-1)), 'mlp_ratio=-1 must be above 0'),
        (dict(window_size=0), 'window_size=0 must be a whole number, 1 or more'),
        (dict(window_size=7.0), 'window_size=7.0 must be a number of tokens, or height and width'),
        (dict(window_size=(7, 7, 7)), r'window_size=\(7, 7, 7\) must be a number of tokens'),
        (dict(window_size='7'), "window_size='7' must be a number of tokens"),
        (dict(img_size=(224, -1)), 'img_size=-1 must be a whole number'),
        (dict(out_indices=4), 'out of range. There are 4 stages: 0 to 3'),
        (dict(frozen_stages=5), 'frozen_stages=5 is out of range: .* up to 4 the stem and so many stages'),
        (dict(settings=[dict(attn_ratio=0.01)] * 8), 'leaves a head of 16 channels with none'),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        small(**arguments)
