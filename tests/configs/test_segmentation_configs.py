"""The configs for mmsegmentation say what their names promise: their folders, recipes and image sizes."""

from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip('mmseg')

import numpy as np  # noqa: E402
from config_files import KINDS, SPVIT, TWINS, UFO, build_tiny_dataset, configs_in, load  # noqa: E402

CROP = (512, 512)
UPERNET = 'upernet/upernet_{}_8xb2-160k_ade20k-512x512.py'
FPN = 'semantic_fpn/fpn_{}_8xb2-80k_ade20k-512x512.py'


class Recipe(NamedTuple):
    """Written down apart from the configs."""

    pattern: str
    family: str
    drop_path: dict[str, float]  # of each arch
    optimizer: dict
    wrapper: dict
    iterations: int
    power: float
    test_mode: dict
    test_size: tuple[int, int]  # of an image of 48 x 64
    warm_up: int = 1500


SWIN = {
    'paramwise_cfg': {
        'custom_keys': {
            'absolute_pos_embed': {'decay_mult': 0.0},
            'relative_position_bias_table': {'decay_mult': 0.0},
            'norm': {'decay_mult': 0.0},
        }
    }
}
LAYER_DECAY = {
    'constructor': 'ss_backbones.LayerDecayOptimizerConstructor',
    'paramwise_cfg': {'layer_decay_rate': 0.9},
}
SLIDE = {'mode': 'slide', 'crop_size': CROP, 'stride': (341, 341)}
WHOLE = {'mode': 'whole'}
RECIPES = [
    Recipe(
        UPERNET,
        'ss-pvtv2',
        {'b0': 0.1, 'b1': 0.1, 'b2': 0.1, 'b3': 0.3, 'b4': 0.3, 'b5': 0.3, 'b0-ufo': 0.1, 'b2-ufo': 0.1},
        {'type': 'AdamW', 'lr': 6e-5, 'betas': (0.9, 0.999), 'weight_decay': 0.01},
        SWIN,
        160_000,
        1.0,
        WHOLE,
        (512, 683),
    ),
    Recipe(
        UPERNET,
        'ss-swin',
        {'tiny': 0.3, 'small': 0.3, 'base': 0.3},
        {'type': 'AdamW', 'lr': 6e-5, 'betas': (0.9, 0.999), 'weight_decay': 0.01},
        SWIN,
        160_000,
        1.0,
        WHOLE,
        (512, 683),
    ),
    Recipe(
        UPERNET,
        'ss-vit',
        {'tiny': 0.1, 'small': 0.1, 'base': 0.1},
        {'type': 'AdamW', 'lr': 1e-4, 'betas': (0.9, 0.999), 'weight_decay': 0.05},
        LAYER_DECAY,
        160_000,
        1.0,
        SLIDE,
        (512, 683),
    ),
    Recipe(
        UPERNET,
        'ss-xcit',
        {'tiny-12': 0.05, 'tiny-24': 0.05, 'small-12': 0.05, 'small-24': 0.05},
        {'type': 'AdamW', 'lr': 6e-5, 'betas': (0.9, 0.999), 'weight_decay': 0.01},
        {**LAYER_DECAY, 'paramwise_cfg': {'layer_decay_rate': 1.0}},
        160_000,
        1.0,
        WHOLE,
        (512, 683),
    ),
    Recipe(
        FPN,
        'ss-pvtv2',
        {'b0': 0.1, 'b1': 0.1, 'b2': 0.1, 'b3': 0.1, 'b4': 0.1, 'b5': 0.1},
        {'type': 'AdamW', 'lr': 1e-4, 'weight_decay': 1e-4},
        {'clip_grad': None},
        80_000,
        0.9,
        WHOLE,
        (512, 704),
        warm_up=0,
    ),
]
CASES = [
    (recipe.pattern.format(f'{family}-{arch}'), arch, recipe)
    for recipe in RECIPES
    for arch in recipe.drop_path
    for family in (recipe.family, TWINS[recipe.family])
]


def test_the_folders_hold_what_the_table_promises():
    names = [case[0] for case in CASES] + [name for name in (*SPVIT, *UFO) if name.startswith('upernet/')]
    assert configs_in('upernet', 'semantic_fpn') == sorted(names)


@pytest.mark.parametrize(('name', 'arch', 'recipe'), CASES)
def test_recipe(name: str, arch: str, recipe: Recipe):
    config = load(name)
    wrapper = config.optim_wrapper.to_dict()
    wrapper.pop('_scope_', None)
    assert wrapper == {'type': 'OptimWrapper', 'optimizer': recipe.optimizer, **recipe.wrapper}
    assert (config.train_cfg.type, config.train_cfg.max_iters) == ('IterBasedTrainLoop', recipe.iterations)
    assert (config.train_dataloader.batch_size, config.train_dataloader.sampler.type) == (2, 'InfiniteSampler')

    *warm_up, schedule = config.param_scheduler
    assert (schedule.type, schedule.power, schedule.eta_min) == ('PolyLR', recipe.power, 0.0)
    assert (schedule.by_epoch, schedule.begin, schedule.end) == (False, recipe.warm_up, recipe.iterations)
    assert [(w.type, w.by_epoch, w.begin, w.end, w.start_factor) for w in warm_up] == (
        [('LinearLR', False, 0, recipe.warm_up, 1e-6)] if recipe.warm_up else []
    )

    assert config.custom_imports == {'imports': ['ss_backbones'], 'allow_failed_imports': False}
    model = config.model
    assert model.get('pretrained') is None
    assert model.test_cfg == recipe.test_mode
    backbone = {key: value for key, value in model.backbone.items() if key != 'settings'}
    assert backbone.pop('linear_stages', None) == ((0, 1) if '-ufo_' in name else None)
    assert backbone == {
        'type': {'ss-pvtv2': 'SSPVTv2', 'ss-swin': 'SSSwin', 'ss-vit': 'SSViT', 'ss-xcit': 'SSXCiT'}[recipe.family],
        'arch': arch.removesuffix('-ufo').replace('-', '_'),
        'ramp': 'bias',
        'drop_path_rate': recipe.drop_path[arch],
        'init_cfg': {'type': 'Pretrained', 'checkpoint': ''},
    }
    heads = [model.decode_head, *([model.auxiliary_head] if recipe.pattern == UPERNET else [])]
    assert [(head.type, head.num_classes) for head in heads] == (
        [('UPerHead', 150), ('FCNHead', 150)] if recipe.pattern == UPERNET else [('FPNHead', 150)]
    )
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.data_preprocessor.bgr_to_rgb
    assert model.data_preprocessor.size == CROP


@pytest.mark.parametrize(('name', 'recipe'), [(name, recipe) for name, _, recipe in CASES if name in KINDS])
def test_image_sizes(name: str, recipe: Recipe, tmp_path: Path):
    config = load(name)
    for loader in ('val_dataloader', 'test_dataloader'):
        tested = build_tiny_dataset(config, loader, tmp_path / loader)
        assert len(tested.metainfo['classes']) == 150
        sample = tested[0]
        assert tuple(sample['inputs'].shape[1:]) == recipe.test_size
        assert tuple(sample['data_samples'].gt_sem_seg.shape) == (48, 64)  # the truth keeps its size

    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert (steps['RandomResize'].scale, steps['RandomResize'].ratio_range) == ((2048, 512), (0.5, 2.0))
    assert (steps['RandomCrop'].crop_size, steps['RandomCrop'].cat_max_ratio) == (CROP, 0.75)
    assert steps['RandomFlip'].prob == 0.5
    trained = build_tiny_dataset(config, 'train_dataloader', tmp_path / 'train')
    np.random.seed(0)
    shapes = [tuple(trained[0]['inputs'].shape[1:]) for _ in range(3)]
    assert CROP in shapes  # from an image as large or larger; smaller ones are padded later
    assert all(max(shape) <= 512 for shape in shapes)
