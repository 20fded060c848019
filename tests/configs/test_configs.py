"""Every config builds its model, optimiser and pipelines; those for detectors say what their names promise."""

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip('mmdet')

import timm  # noqa: E402
import torch  # noqa: E402
from config_files import (  # noqa: E402
    CONFIGS,
    FIRST,
    KINDS,
    ROOT,
    SPVIT,
    TWINS,
    UFO,
    build_tiny_dataset,
    configs_in,
    load,
    read,
    twin_of,
)
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from ss_backbones.checkpoints.loading import CheckpointError  # noqa: E402
from ss_backbones.networks import Swin, ViT  # noqa: E402

SS_CONFIGS = [name for name in CONFIGS if '_ss-' in name and not name.startswith('demo/')]
ARCHS = ('b0', 'b1', 'b2', 'b3', 'b4', 'b5')
VITS = SWINS = ('tiny', 'small', 'base')
XCITS = ('tiny-12', 'tiny-24', 'small-12', 'small-24')
TIMM_NAMES = {
    'pvtv2': 'ss_pvt_v2_{}',
    'swin': 'ss_swin_{}_patch4_window7_224',
    'vit': 'ss_vit_{}_patch16_224',
    'deit': 'ss_vit_{}_patch16_224',
    'xcit': 'ss_xcit_{}_p16_224',
}


class Family(NamedTuple):
    """What the detectors with a family of backbones share. All of this is written down apart from the configs."""

    backbone: dict
    optimizer: dict
    warm_up: int
    wrapper: dict


PVT = Family({'type': 'SSPVTv2', 'ramp': 'bias', 'drop_path_rate': 0.1}, {'weight_decay': 1e-4}, 500, {})
VIT = Family(
    {'type': 'SSViT', 'ramp': 'bias', 'drop_path_rate': 0.1, 'window_size': 14, 'global_blocks': (2, 5, 8, 11)},
    {'weight_decay': 0.05, 'betas': (0.9, 0.999)},
    1000,
    {
        'constructor': 'ss_backbones.LayerDecayOptimizerConstructor',
        'paramwise_cfg': {'layer_decay_rate': 0.9},
    },
)
SWIN = Family(
    {'type': 'SSSwin', 'ramp': 'bias', 'drop_path_rate': 0.2},
    {'weight_decay': 0.05, 'betas': (0.9, 0.999)},
    1000,
    {
        'paramwise_cfg': {
            'custom_keys': {
                'absolute_pos_embed': {'decay_mult': 0.0},
                'relative_position_bias_table': {'decay_mult': 0.0},
                'norm': {'decay_mult': 0.0},
            }
        }
    },
)
XCIT = Family(
    {'type': 'SSXCiT', 'ramp': 'bias', 'drop_path_rate': 0.05},
    {'weight_decay': 0.05, 'betas': (0.9, 0.999)},
    1000,
    {
        'constructor': 'ss_backbones.LayerDecayOptimizerConstructor',
        'paramwise_cfg': {'layer_decay_rate': 1.0},
    },
)
FAMILIES = {'ss-pvtv2': PVT, 'ss-swin': SWIN, 'ss-vit': VIT, 'ss-xcit': XCIT}


class Recipe(NamedTuple):
    pattern: str
    family: str
    archs: tuple[str, ...]
    rate: float
    epochs: int
    steps: list[int]


RECIPES = [
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py', 'ss-pvtv2', ARCHS, 2e-4, 12, [8, 11]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py', 'ss-pvtv2', ('b0-ufo', 'b2-ufo'), 2e-4, 12, [8, 11]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_ms-3x_coco.py', 'ss-pvtv2', ('b0', 'b2'), 2e-4, 36, [27, 33]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_bf16-1x_coco.py', 'ss-pvtv2', ('b2',), 2e-4, 12, [8, 11]),
    Recipe('retinanet/retinanet_{}_fpn_1x_coco.py', 'ss-pvtv2', ARCHS[:-1], 1e-4, 12, [8, 11]),
    Recipe('retinanet/retinanet_{}_fpn_1x_coco.py', 'ss-pvtv2', ('b5',), 7.142857142857143e-05, 12, [8, 11]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py', 'ss-swin', SWINS, 1e-4, 12, [8, 11]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py', 'ss-vit', VITS, 1e-4, 12, [8, 11]),
    Recipe('mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py', 'ss-xcit', XCITS, 1e-4, 12, [8, 11]),
]
CASES = [
    (recipe.pattern.format(f'{family}-{arch}'), arch, recipe)
    for recipe in RECIPES
    for arch in recipe.archs
    for family in (recipe.family, TWINS[recipe.family])
]


def build_model(config: Config) -> torch.nn.Module:
    return MODELS.build(config.model)


def test_the_folders_hold_what_the_table_promises():
    names = [case[0] for case in CASES] + [name for name in (*SPVIT, *UFO) if name.startswith('mask_rcnn/')]
    assert configs_in('mask_rcnn', 'retinanet') == sorted(names)


def test_spvits_configs_are_those_of_its_released_networks():
    released = sorted(name for network in (ViT, Swin) for name in network.named_settings)
    for folder, pattern in (('mask_rcnn', '_fpn_1x_'), ('upernet', '_8xb2-160k_')):
        names = [name for name in SPVIT if name.startswith(f'{folder}/')]
        assert [re.search(f'_(spvit-.+?){pattern}', name)[1].replace('-', '_') for name in names] == released
        for name, settings in zip(names, released, strict=True):
            backbone = read(name).model.backbone
            assert (backbone.settings, backbone.init_cfg.checkpoint) == (settings, '')
            assert f'({settings}.pth)' in (ROOT / name).read_text()


@pytest.mark.parametrize('name', CONFIGS)
def test_model_and_optimiser_build(name: str):
    config = load(name)
    with torch.device('meta'):  # no memory, no initialisation
        model = build_model(config)
    channels = list(model.backbone.channels)
    reader = config.model.get('neck') or config.model.decode_head
    assert list(reader.in_channels) == channels
    auxiliary = config.model.get('auxiliary_head')
    assert auxiliary is None or auxiliary.in_channels == channels[auxiliary.in_index]
    assert all(parameter.requires_grad for parameter in model.parameters())

    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    assert trained == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_of_a_kind_differ_in_their_backbones_alone(name: str):
    """So that one of them shows of all of them what their data and heads do."""
    one, other = read(FIRST[name]).to_dict(), read(name).to_dict()
    for config in (one, other):
        model = config['model']
        for key in ('arch', 'settings', 'drop_path_rate', 'linear_stages'):
            model['backbone'].pop(key, None)
        for reader in (model.get('neck'), model.get('decode_head'), model.get('auxiliary_head')):
            if reader:
                reader.pop('in_channels')
        config['optim_wrapper']['optimizer'].pop('lr')
    assert one == other


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('loader', ['train_dataloader', 'val_dataloader', 'test_dataloader'])
def test_pipelines_run(name: str, loader: str, tmp_path: Path):
    config = load(name)
    sample = build_tiny_dataset(config, loader, tmp_path / 'set')[0]
    assert sample['inputs'].dtype == torch.uint8
    assert sample['inputs'].shape[0] == 3
    truth = sample['data_samples']
    assert truth.img_shape == tuple(sample['inputs'].shape[1:])
    if config.default_scope == 'mmseg':
        assert 'gt_sem_seg' in truth
        return
    assert len(truth.gt_instances.bboxes) == 1
    if 'MaskRCNN' in config.model.type:
        assert truth.gt_instances.masks.masks.any()
    if loader != 'train_dataloader':
        assert {'img_id', 'ori_shape', 'scale_factor'} <= set(truth.metainfo_keys())


@pytest.mark.parametrize('name', [case[0] for case in CASES if case[0] in KINDS])
def test_image_sizes(name: str, tmp_path: Path):
    config = load(name)
    assert tuple(build_tiny_dataset(config, 'test_dataloader', tmp_path / 'test')[0]['inputs'].shape[1:]) == (800, 1067)
    dataset = build_tiny_dataset(config, 'train_dataloader', tmp_path / 'train')
    sides = {dataset[0]['inputs'].shape[1] for _ in range(12 if 'ms-3x' in name else 2)}
    if 'ms-3x' in name:
        assert len(sides) > 1
        assert sides <= set(range(480, 801, 32))
        resize = next(step for step in config.train_dataloader.dataset.pipeline if 'Resize' in step.type)
        assert [min(scale) for scale in resize.scales] == [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]
        assert {max(scale) for scale in resize.scales} == {1333}
    else:
        assert sides == {800}


@pytest.mark.parametrize('name', SS_CONFIGS)
def test_twin_differs_in_its_settings_alone(name: str):
    ours, twin = read(name).to_dict(), read(twin_of(name)).to_dict()
    assert ours['model']['backbone'].pop('settings') == 'specific'
    assert twin['model']['backbone'].pop('settings') == 'uniform'
    assert ours == twin


@pytest.mark.parametrize(('name', 'arch', 'recipe'), CASES)
def test_recipe(name: str, arch: str, recipe: Recipe):
    config = load(name)
    family = FAMILIES[recipe.family]
    wrapper = config.optim_wrapper.to_dict()
    rate = pytest.approx(recipe.rate)
    assert wrapper.pop('optimizer') == {'type': 'AdamW', 'lr': rate, **family.optimizer}
    wrapper.pop('_scope_', None)
    assert wrapper == {'type': 'OptimWrapper', **family.wrapper}
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == (2, 16)
    assert config.train_cfg.max_epochs == recipe.epochs
    warm_up, schedule = config.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.begin, warm_up.end) == ('LinearLR', False, 0, family.warm_up)
    assert warm_up.start_factor == 0.001
    assert (schedule.type, schedule.by_epoch, schedule.end) == ('MultiStepLR', True, recipe.epochs)
    assert (schedule.milestones, schedule.gamma) == (recipe.steps, 0.1)

    assert config.custom_imports == {'imports': ['ss_backbones'], 'allow_failed_imports': False}
    backbone = {key: value for key, value in config.model.backbone.items() if key != 'settings'}
    pretrained = {'type': 'Pretrained', 'checkpoint': ''}
    assert backbone.pop('bf16', False) == ('bf16' in name)
    assert backbone.pop('linear_stages', None) == ((0, 1) if '-ufo_' in name else None)
    assert backbone == {'arch': arch.removesuffix('-ufo').replace('-', '_'), 'init_cfg': pretrained, **family.backbone}
    normalisation = config.model.data_preprocessor
    assert normalisation.mean == [123.675, 116.28, 103.53]
    assert normalisation.std == [58.395, 57.12, 57.375]
    assert normalisation.bgr_to_rgb


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_are_short_and_inherit(name: str):
    text = (ROOT / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith('#')]
    assert lines[0].startswith('_base_ = ')
    # whoever names an arch says how to make the weights of that very arch
    for arch in re.findall(r"arch='(\w+)'", text) if 'init_cfg=dict' in text and name not in UFO else []:
        assert "\ncheckpoint = ''\n" in text
        model = next(
            pattern for family, pattern in TIMM_NAMES.items() if f'{family}-{arch.replace("_", "-")}' in name
        ).format(arch)
        assert f'ss-backbones inherit SOURCE {model} OUT' in re.sub(r'\n?# | +', ' ', text).replace('  ', ' ')
        assert timm.is_model(model)


def test_an_empty_checkpoint_is_refused_and_can_be_waived():
    config = load('mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py')
    with pytest.raises(CheckpointError, match=re.escape('model.backbone.init_cfg=None')):
        build_model(config).init_weights()

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    config.merge_from_dict(parser.parse_args(['--cfg-options', 'model.backbone.init_cfg=None']).cfg_options)
    assert config.model.backbone.init_cfg is None
    build_model(config).init_weights()
