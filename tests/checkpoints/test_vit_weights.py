"""A ViT classifier's weights in a backbone: position tables of other sizes, the class token, other networks."""

import re
from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_state_dict
from other_layouts import resized_by_pillow
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSViT, load_weights
from ss_backbones.timm_models import SSViTClassifier

SMALL = dict(embed_dim=32, depth=12, num_heads=2)


def classifier(**arguments: object) -> SSViTClassifier:
    model = SSViTClassifier(**{'arch': SMALL, 'num_classes': 5, **arguments}).eval()
    with torch.no_grad():  # as built, the class token is too small and the table too smooth to show anything
        model.cls_token.normal_()
        model.pos_embed.normal_()
    return model


@pytest.mark.parametrize('name', ['ss_vit_tiny_patch16_224', 'ss_vit_small_patch16_224'])
def test_a_classifier_goes_into_a_detector(name: str, tmp_path: Path) -> None:
    source = timm.create_model(name).eval()
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'epoch_300.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_300.pth'))
    backbone = SSViT(name.split('_')[2], init_cfg=init_cfg).eval()
    backbone.init_weights()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        before = source.forward_features(x)[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
        assert [m.shape[2:] for m in backbone(torch.randn(1, 3, 800, 1333))] == [
            (200, 334), (100, 167), (50, 84), (25, 42)
        ]  # fmt: skip
        torch.testing.assert_close(backbone(x)[2], before, rtol=0, atol=0)


def test_the_report_knows_what_no_classifier_has() -> None:
    report = load_weights(SSViT(SMALL), classifier().state_dict())
    assert report.share == 1 and not report.missing and not report.adapted
    assert {key.split('.')[0] for key in report.fresh} == {'pyramid'} and len(report.fresh) == 8
    assert 'fresh: pyramid.levels.0.0.weight' in str(report)
    assert report.unexpected == ('head.weight', 'head.bias')
    # and a backbone's own checkpoint brings its pyramid
    assert not load_weights(SSViT(SMALL), SSViT(SMALL).state_dict()).fresh


@pytest.mark.parametrize('class_token', [True, False])
@pytest.mark.parametrize(('size', 'grid'), [(384, (24, 24)), (96, (6, 6)), ((320, 200), (20, 13))])
def test_a_table_of_another_size_is_resized_at_load(size: object, grid: tuple[int, int], class_token: bool) -> None:
    source = classifier()
    model = SSViT(SMALL, img_size=size, class_token=class_token)
    report = load_weights(model, source.state_dict())
    assert report.share == 1 and f'pos_embed (14 x 14 to {grid[0]} x {grid[1]})' in report.adapted
    table = source.pos_embed.detach()[0]
    expected = resized_by_pillow(table[1:].reshape(14, 14, -1), *grid).flatten(0, 1)
    ours = model.pos_embed.detach()[0]
    torch.testing.assert_close(ours[int(class_token) :], expected, rtol=1e-4, atol=1e-5)
    if class_token:
        assert torch.equal(ours[0], table[0])


def test_the_class_token_can_be_left_out() -> None:
    source = classifier()
    model = SSViT(SMALL, class_token=False)
    report = load_weights(model, source.state_dict())
    assert report.share == 1 and report.adapted == ('pos_embed (without cls_token)',)
    assert torch.equal(model.pos_embed, source.pos_embed[:, 1:])
    assert torch.equal(model.blocks[3].attn.qkv.weight, source.blocks[3].attn.qkv.weight)


def test_a_distilled_deit_goes_in_without_its_second_token() -> None:
    source = timm.create_model('deit_tiny_distilled_patch16_224').eval()
    with torch.no_grad():
        source.pos_embed.normal_()
    for class_token, dropped in ((True, 'dist_token'), (False, 'cls_token and dist_token')):
        model = SSViT('tiny', settings='uniform', class_token=class_token)
        report = load_weights(model, {'model': source.state_dict()})
        assert report.share == 1 and report.adapted == (f'pos_embed (without {dropped})',)
        rows = [0, *range(2, 198)] if class_token else range(2, 198)
        assert torch.equal(model.pos_embed, source.pos_embed[:, list(rows)])


def test_the_layouts_of_openmmlab() -> None:
    small = dict(img_size=64, embed_dims=32, num_layers=3, num_heads=2)
    theirs = pytest.importorskip('mmseg.models.backbones').VisionTransformer(
        **small, final_norm=True, out_indices=2, patch_bias=True
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.1)
    theirs.double().eval()  # mmseg's train returns nothing
    arch = dict(embed_dim=32, depth=3, num_heads=2)
    ours = SSViT(arch, settings='uniform', img_size=64, out_indices=2).double().eval()
    weights = theirs.state_dict()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    # mmpretrain's keys differ in attention alone, where they are timm's
    of_mmpretrain = {
        k.replace('.attn.attn.in_proj_', '.attn.qkv.').replace('.attn.attn.out_proj.', '.attn.proj.'): v
        for k, v in weights.items()
    }
    for layout in (weights, of_mmpretrain):
        ours.apply(lambda m: m.reset_parameters() if hasattr(m, 'reset_parameters') else None)
        assert load_weights(ours, {f'backbone.{key}': value for key, value in layout.items()}).share == 1
        with torch.no_grad():
            for module in ours.modules():  # the norms there have torch's eps
                if isinstance(module, nn.LayerNorm):
                    module.eps = 1e-5
            torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-9, atol=1e-9)


def test_mmengines_own_loading_resizes_the_table() -> None:
    source, target = SSViT(SMALL, img_size=64), SSViT(SMALL, img_size=128)
    with torch.no_grad():
        source.pos_embed.normal_()
    segmenter = nn.Module()
    segmenter.backbone = target
    load_state_dict(segmenter, {f'backbone.{k}': v for k, v in source.state_dict().items()}, strict=True)
    expected = resized_by_pillow(source.pos_embed.detach()[0, 1:].reshape(4, 4, -1), 8, 8).flatten(0, 1)
    torch.testing.assert_close(target.pos_embed.detach()[0, 1:], expected, rtol=1e-4, atol=1e-5)


def test_a_table_that_is_no_square_stays_with_its_own_network() -> None:
    source, target = SSViT(SMALL, img_size=(32, 128)), SSViT(SMALL, img_size=(32, 128))
    report = load_weights(target, source.state_dict())
    assert torch.equal(source.pos_embed, target.pos_embed)
    assert report.adapted == ('pos_embed (16 positions, taken as 2 x 8)',)  # a square one would have as many


@pytest.mark.parametrize('levels', [(1, 2, 3), (0, 3), (2,)])
def test_levels_of_the_pyramid_that_are_not_wanted_may_be_there(levels: tuple[int, ...]) -> None:
    full, part = SSViT(SMALL), SSViT(SMALL, out_indices=levels)
    report = load_weights(part, full.state_dict())
    assert report.share == 1 and not report.fresh
    assert all(torch.equal(value, full.state_dict()[key]) for key, value in part.state_dict().items())
    assert load_weights(full, part.state_dict()).share == 1


def refused(model: SSViT, weights: dict[str, Tensor], text: str) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=text) as error:
        load_weights(model, weights)
    assert 'Nothing was loaded' in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_missing_class_token_is_refused() -> None:
    weights = classifier().state_dict()
    del weights['cls_token']
    text = r'has no class token \(cls_token\). Build the network with class_token=False'
    refused(SSViT(SMALL), weights, text)
    refused(SSViT(SMALL), {**weights, 'pos_embed': weights['pos_embed'][:, 1:]}, text)
    # and the advice works
    load_weights(SSViT(SMALL, class_token=False), {**weights, 'pos_embed': weights['pos_embed'][:, 1:]})


@pytest.mark.parametrize('shape', [(1, 197, 48), (1, 26, 48), (197, 32)])
def test_a_table_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    weights = {**classifier().state_dict(), 'pos_embed': torch.zeros(shape)}
    refused(SSViT(SMALL), weights, re.escape(f'pos_embed ({shape} in the checkpoint, (1, 197, 32) in the model)'))


def test_a_table_that_is_no_square_grid_is_refused() -> None:
    weights = {**classifier().state_dict(), 'pos_embed': torch.zeros(1, 1 + 14 * 15, 32)}
    refused(SSViT(SMALL), weights, re.escape('pos_embed ((1, 211, 32) in the checkpoint, (1, 197, 32) in the model)'))


@pytest.mark.parametrize(
    ('other', 'text'),
    [
        (dict(settings='uniform'), 'only 85% of the model matches'),
        (dict(arch=dict(SMALL, depth=14)), 'differ|more in the same parts'),
        (dict(arch=dict(SMALL, depth=11)), 'differ|has no blocks.11'),
        (dict(arch=dict(SMALL, embed_dim=48)), 'nothing fits'),
        (dict(arch=dict(SMALL, num_heads=4)), None),  # the same tensors: nothing can tell
        (dict(arch=dict(SMALL, patch_size=8)), 'tensors differ'),
    ],
)
def test_other_networks_are_refused(other: dict, text: str | None) -> None:
    weights = classifier(**other).state_dict()
    if text is None:
        assert load_weights(SSViT(SMALL), weights).share == 1
    else:
        refused(SSViT(SMALL), weights, text)


def test_more_and_fewer_blocks_are_refused_even_if_they_are_alike() -> None:
    plain = classifier(settings='uniform').state_dict()
    deeper = {**plain, **{f'blocks.12.{k.split(".", 2)[2]}': v for k, v in plain.items() if k.startswith('blocks.11.')}}
    refused(SSViT(SMALL, settings='uniform'), deeper, '12 tensors more in the same parts')
    shallower = {key: value for key, value in plain.items() if not key.startswith('blocks.11.')}
    refused(SSViT(SMALL, settings='uniform'), shallower, 'the checkpoint has no blocks.11')


def test_blocks_that_are_not_wanted_may_be_there() -> None:
    model = SSViT(SMALL, pyramid=False, out_indices=(3, 7))
    report = load_weights(model, classifier().state_dict())
    assert report.share == 1 and len(model.blocks) == 8
    assert {key.split('.')[0] for key in report.unexpected} == {'blocks', 'norm', 'head'}


def test_in_channels_are_adapted() -> None:
    report = load_weights(SSViT(SMALL, in_channels=4), classifier().state_dict())
    assert report.adapted == ('patch_embed.proj.weight (3 to 4 channels)',)
