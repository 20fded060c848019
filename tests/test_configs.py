"""Every config in configs/ builds its model, its optimiser and its data pipelines, and says what its name promises."""

import argparse
import re
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip('mmdet')

import torch  # noqa: E402
from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import DATASETS, MODELS, init_default_scope  # noqa: E402
from tiny_data import write_coco, write_segmentation  # noqa: E402

from ss_backbones.checkpoints import CheckpointError  # noqa: E402

ROOT = Path(__file__).resolve().parents[1] / 'configs'
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
SS_CONFIGS = [name for name in CONFIGS if '_ss-' in name and not name.startswith('demo/')]
ARCHS = ('b0', 'b1', 'b2', 'b3', 'b4', 'b5')

# PVT's recipe, written down apart from the configs: (archs, lr, epochs, steps)
RECIPES = {
    'mask_rcnn/mask-rcnn_{}_fpn_1x_coco.py': (ARCHS, 2e-4, 12, [8, 11]),
    'mask_rcnn/mask-rcnn_{}_fpn_ms-3x_coco.py': (('b0', 'b2'), 2e-4, 36, [27, 33]),
    'mask_rcnn/mask-rcnn_{}_fpn_bf16-1x_coco.py': (('b2',), 2e-4, 12, [8, 11]),
    'retinanet/retinanet_{}_fpn_1x_coco.py': (ARCHS, 1e-4, 12, [8, 11]),
}
OTHER_RATES = {'retinanet/retinanet_{}_fpn_1x_coco.py': {'b5': 7.142857142857143e-05}}
CASES = [
    (pattern.format(f'{family}-{arch}'), arch, OTHER_RATES.get(pattern, {}).get(arch, rate), epochs, steps)
    for pattern, (archs, rate, epochs, steps) in RECIPES.items()
    for arch in archs
    for family in ('ss-pvtv2', 'pvtv2')
]


@cache
def _read(name: str) -> Config:
    return Config.fromfile(ROOT / name)


def load(name: str) -> Config:
    """A config of one's own, in the scope of its library."""
    config = _read(name).copy()
    init_default_scope(config.default_scope)
    return config


def build_tiny_dataset(config: Config, loader: str, folder: Path):
    """The dataset of a dataloader with its own pipeline, on a set of one image."""
    dataset = config[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    unread = DATASETS.build({**dataset, 'lazy_init': True})
    if config.default_scope == 'mmseg':
        place = write_segmentation(folder, unread.img_suffix, unread.seg_map_suffix)
    else:
        place = write_coco(folder, unread.metainfo['classes'])
    return DATASETS.build({**dataset, **place})


def build_model(config: Config) -> torch.nn.Module:
    return MODELS.build(config.model)


def test_the_folder_holds_what_the_table_promises():
    assert sorted(name for name in CONFIGS if name.startswith(('mask_rcnn/', 'retinanet/'))) == sorted(
        case[0] for case in CASES
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_model_and_optimiser_build(name: str):
    config = load(name)
    with torch.device('meta'):  # no memory, no initialisation
        model = build_model(config)
    channels = list(model.backbone.channels)
    reader = config.model.get('neck') or config.model.decode_head
    assert list(reader.in_channels) == channels
    assert all(parameter.requires_grad for parameter in model.parameters())

    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    assert trained == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize('name', CONFIGS)
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


@pytest.mark.parametrize('name', [case[0] for case in CASES])
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
    ours, twin = _read(name).to_dict(), _read(name.replace('_ss-', '_')).to_dict()
    assert ours['model']['backbone'].pop('settings') == 'specific'
    assert twin['model']['backbone'].pop('settings') == 'uniform'
    assert ours == twin


@pytest.mark.parametrize(('name', 'arch', 'rate', 'epochs', 'steps'), CASES)
def test_recipe(name: str, arch: str, rate: float, epochs: int, steps: list[int]):
    config = load(name)
    assert dict(config.optim_wrapper.optimizer) == {'type': 'AdamW', 'lr': pytest.approx(rate), 'weight_decay': 1e-4}
    assert config.optim_wrapper.type == 'OptimWrapper'
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == (2, 16)
    assert config.train_cfg.max_epochs == epochs
    warm_up, schedule = config.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ('LinearLR', False, 500)
    assert (schedule.type, schedule.by_epoch, schedule.end) == ('MultiStepLR', True, epochs)
    assert (schedule.milestones, schedule.gamma) == (steps, 0.1)

    assert config.custom_imports == {'imports': ['ss_backbones'], 'allow_failed_imports': False}
    backbone = {key: value for key, value in config.model.backbone.items() if key != 'settings'}
    pretrained = {'type': 'Pretrained', 'checkpoint': ''}
    assert backbone.pop('bf16', False) == ('bf16' in name)
    assert backbone == {'type': 'SSPVTv2', 'arch': arch, 'drop_path_rate': 0.1, 'init_cfg': pretrained}
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
    for arch in re.findall(r"arch='(\w+)'", text) if 'init_cfg=dict' in text else []:
        assert "\ncheckpoint = ''\n" in text
        assert f'timm.create_model("ss_pvt_v2_{arch}")' in text


def test_an_empty_checkpoint_is_refused_and_can_be_waived():
    config = load('mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py')
    with pytest.raises(CheckpointError, match=re.escape('model.backbone.init_cfg=None')):
        build_model(config).init_weights()

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    config.merge_from_dict(parser.parse_args(['--cfg-options', 'model.backbone.init_cfg=None']).cfg_options)
    assert config.model.backbone.init_cfg is None
    build_model(config).init_weights()
