"""Swin's weights in the layouts of timm, of the official repositories and of OpenMMLab; tables of other windows."""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner.checkpoint import load_state_dict
from small_networks import noisy
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones import CheckpointError, SSSwin, load_weights
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.checkpoints.key_maps import to_own_keys
from ss_backbones.timm_models import SSSwinClassifier

ARCH = dict(embed_dim=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))
SMALL = dict(arch=ARCH, img_size=64, window_size=4)


def classifier(**arguments: object) -> SSSwinClassifier:
    return noisy(SSSwinClassifier(**{**SMALL, 'num_classes': 5, **arguments})).eval()


def as_official(weights: dict[str, Tensor], of: nn.Module) -> dict[str, Tensor]:
    """With the buffers that the official code saves."""
    extra = {}
    for name, module in of.named_modules():
        if name.endswith('.attn'):
            area = module.window_size[0] * module.window_size[1]
            extra[f'{name}.relative_position_index'] = torch.zeros(area, area, dtype=torch.long)
            if module.shifted:
                extra[f'{name.removesuffix(".attn")}.attn_mask'] = torch.zeros(4, area, area)
    assert len(extra) == 12
    return {**extra, **weights}


def equal(ours: nn.Module, theirs: dict[str, Tensor]) -> bool:
    state = ours.state_dict()
    return all(torch.equal(state[key], theirs[key]) for key in state)


def test_official_checkpoints_lose_what_follows_from_the_sizes() -> None:
    source, target = classifier(), classifier()
    report = load_weights(target, {'model': as_official(source.state_dict(), source)})
    assert report.share == 1 and not report.unexpected and equal(target, source.state_dict())


def test_official_detectors_call_the_last_norm_by_its_number() -> None:
    source, target = noisy(SSSwin(**SMALL)), SSSwin(**SMALL)
    weights = as_official(source.state_dict(), source)
    for end in ('weight', 'bias'):
        weights[f'norm3.{end}'] = weights.pop(f'norm.{end}')
    assert load_weights(target, {f'backbone.{key}': value for key, value in weights.items()}).share == 1
    assert equal(target, source.state_dict())
    # while a norm with a number is its own, where it is not the arch's last
    partly = noisy(SSSwin(**SMALL, out_indices=(0, 1, 2)))
    again = SSSwin(**SMALL, out_indices=(0, 1, 2))
    assert load_weights(again, partly.state_dict()).share == 1 and equal(again, partly.state_dict())


def test_timms_layout_has_its_mergings_at_the_beginning_of_a_stage() -> None:
    theirs = noisy(timm.create_model('swin_tiny_patch4_window7_224', num_classes=5, **ARCH, img_size=64, window_size=4))
    weights = theirs.state_dict()
    assert 'layers.1.downsample.reduction.weight' in weights and 'layers.0.downsample.reduction.weight' not in weights
    ours = classifier(settings='uniform')
    report = load_weights(ours, weights)
    assert report.share == 1 and not report.unexpected
    assert torch.equal(ours.layers[0].downsample.reduction.weight, weights['layers.1.downsample.reduction.weight'])
    assert torch.equal(ours.head.weight, weights['head.fc.weight'])


def mmdets() -> dict[str, Tensor]:
    theirs = pytest.importorskip('mmdet.models.backbones').SwinTransformer(
        embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=4
    )
    return noisy(theirs).state_dict()


def test_mmengines_own_loading_takes_openmmlabs_layout() -> None:
    weights = mmdets()
    detector = nn.Module()
    detector.backbone = SSSwin(**{**SMALL, 'img_size': 224}, settings='uniform')
    load_state_dict(detector, {f'backbone.{key}': value for key, value in weights.items()}, strict=True)
    weight = detector.backbone.layers[1].downsample.reduction.weight
    merged = weights['stages.1.downsample.reduction.weight'].reshape(64, 32, 2, 2)  # channel, row, column
    for at, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        assert torch.equal(weight[:, 32 * at : 32 * (at + 1)], merged[:, :, row, column])


def test_classifiers_of_mmpretrain() -> None:
    weights = {f'backbone.{key}': value for key, value in mmdets().items() if not key.startswith(('norm0', 'norm1'))}
    weights |= {'head.fc.weight': torch.randn(5, 128), 'head.fc.bias': torch.randn(5)}
    report = load_weights(SSSwin(**{**SMALL, 'img_size': 224}, settings='uniform'), weights)
    assert report.share == 1 and {key.split('.')[0] for key in report.fresh} == {'norm0', 'norm1'}


def test_maps_leave_the_keys_of_other_families_alone() -> None:
    for make in (lambda: SSSwin(**SMALL), lambda: SSSwinClassifier(**SMALL, num_classes=3)):
        weights = make().state_dict()
        assert list(to_own_keys(weights)) == list(weights)


@pytest.mark.parametrize('window', [2, 7])
def test_tables_of_another_window_are_resized(window: int) -> None:
    source, target = classifier(), classifier(window_size=window)
    report = load_weights(target, source.state_dict())
    assert report.share == 1 and report.adapted
    for i in range(4):
        for j in range(2):
            theirs, ours = (model.layers[i].blocks[j].attn for model in (source, target))
            old, new = (2 * attn.window_size[0] - 1 for attn in (theirs, ours))
            table = theirs.relative_position_bias_table.t().reshape(1, -1, old, old)
            expected = F.interpolate(table, size=(new, new), mode='bicubic').flatten(2)[0].t()
            torch.testing.assert_close(ours.relative_position_bias_table, expected)


def test_a_classifier_goes_into_a_detector_of_other_windows(tmp_path: Path) -> None:
    source = classifier()
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'epoch_300.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_300.pth'))
    backbone = SSSwin(ARCH, img_size=64, window_size=6, init_cfg=init_cfg)
    backbone.init_weights()
    assert torch.equal(backbone.norm.weight, source.norm.weight)
    assert torch.equal(backbone.layers[1].downsample.reduction.weight, source.layers[1].downsample.reduction.weight)
    report = load_weights(backbone, source.state_dict())
    assert report.adapted == (
        '4 relative_position_bias_table (windows of 4 x 4 to 6 x 6)',
    ) and {key.split('.')[0] for key in report.fresh} == {'norm0', 'norm1', 'norm2'}  # fmt: skip


@pytest.mark.parametrize('shape', [(49, 3), (48, 1), (2, 2, 49)])
def test_tables_that_cannot_be_resized_are_refused(shape: tuple[int, ...]) -> None:
    weights = {**classifier().state_dict(), 'layers.0.blocks.0.attn.relative_position_bias_table': torch.zeros(shape)}
    with pytest.raises(CheckpointError, match='(?s)bias_table .*Nothing was loaded: 1 tensors differ'):
        load_weights(classifier(), weights)


@pytest.mark.parametrize('to', ['timm', 'official', 'openmmlab'])
def test_conversions_bring_the_same_weights(to: str, tmp_path: Path) -> None:
    name = 'ss_swin_tiny_patch4_window7_224'
    source = timm.create_model(name)
    torch.save({'model': as_official_of_tiny(source)}, tmp_path / 'given.pth')
    report = convert(tmp_path / 'given.pth', tmp_path / 'made.pth', to)
    assert report.identification.fits and report.identification.network.name == name
    assert any('buffers that follow from the sizes' in words for words in report.left_out)
    again = timm.create_model(name)
    assert load_weights(again, tmp_path / 'made.pth').share == 1
    assert equal(again, source.state_dict())


def as_official_of_tiny(model: nn.Module) -> dict[str, Tensor]:
    extra = {'layers.0.blocks.1.attn_mask': torch.zeros(64, 49, 49)}
    return {**extra, **model.state_dict()}
