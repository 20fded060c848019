"""The classifiers' configs: which there are, what their recipe is, and a training step of each."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch

pytest.importorskip('mmengine')

from config_files import CLASSIFIERS, ROOT, read, twin_of  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from small_networks import classifier_on_meta, shallow  # noqa: E402
from table import DFC, PVT_V2, SWIN, VIT, XCIT  # noqa: E402
from tiny_images import write_classes  # noqa: E402

from ss_backbones.classification.recipe import fit_schedule, scale_learning_rate  # noqa: E402
from ss_backbones.compress.search_plan import SearchPlan  # noqa: E402
from ss_backbones.networks import PRESETS, Swin, UFOViT, ViT  # noqa: E402
from ss_backbones.networks.searching import search_form  # noqa: E402

INHERITED = [name for name in CLASSIFIERS if '/inherit/' in name]
SS = [name for name in CLASSIFIERS if '/ss-' in name and name not in INHERITED]
PROBES = {f'imagenet/dfc-deit-{name.split("_")[2]}_8xb128_in1k.py': name for name in DFC}
SPVIT = [name for name in CLASSIFIERS if '/spvit-' in name]
UFO = [f'imagenet/ufo-vit-{arch}_8xb128_in1k.py' for arch in UFOViT.archs]
SEARCHES = [name for name in CLASSIFIERS if '/search/' in name]
FINE = [name for name in SS if 'ft384' in name]
EXTRA = ['imagenet/ss-pvtv2-b0_8xb128-distill_in1k.py', 'imagenet/ss-pvtv2-b0_8xb128-ema_in1k.py']


def test_the_folder_holds_every_model_and_its_twin() -> None:
    names = [f'ss-pvtv2-{row.arch.replace("_", "-")}_8xb128_in1k' for row in PVT_V2]
    names += [f'ss-vit-{row.arch}_8xb{rest}_in1k' for row in VIT for rest in ('128', '64-ft384')]
    names += [f'ss-swin-{row.arch}_8xb128_in1k' for row in SWIN] + ['ss-swin-base_8xb64-ft384_in1k']
    names += [f'ss-xcit-{row.arch.replace("_", "-")}_8xb128_in1k' for row in XCIT]
    expected = [f'imagenet/{name}.py' for name in names]
    assert sorted(SS) == sorted(expected + EXTRA)
    assert sorted(CLASSIFIERS) == sorted(
        [*SS, *(twin_of(name) for name in expected), *PROBES, *INHERITED, *SPVIT, *UFO, *SEARCHES]
    )
    released = {name for network in (ViT, Swin) for name in network.named_settings}
    assert {name.split('/')[1].split('_')[0].replace('-', '_') for name in SPVIT} == released
    assert [name.replace('inherit/', '') for name in INHERITED] == [name for name in SS if name not in (*EXTRA, *FINE)]


@pytest.mark.parametrize('name', [name for name in SS if name not in EXTRA])
def test_a_twin_differs_in_its_settings_alone(name: str) -> None:
    ours, twin = read(name).to_dict(), read(twin_of(name)).to_dict()
    assert twin['model']['backbone'].pop('settings') == 'uniform'
    assert ours == twin
    with torch.device('meta'):
        plain = MODELS.build({**read(twin_of(name)).model, 'init_cfg': None}).backbone
    kind, arch = name.split('/ss-')[1].split('_8x')[0].split('-', 1)
    rows = {'pvtv2': PVT_V2, 'swin': SWIN, 'vit': VIT, 'xcit': XCIT}[kind]
    row = next(row for row in rows if row.arch.replace('_', '-') == arch)
    size = dict(window_size=12) if kind == 'swin' else {}
    theirs = classifier_on_meta(row.plain, **(dict(img_size=384, **size) if 'ft384' in name else {}))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize('name', [*(name for name in SS if name not in FINE), *PROBES, *UFO])
def test_the_recipe_of_deit(name: str) -> None:
    config = read(name).copy()
    assert config.train_dataloader.batch_size == 128
    scale_learning_rate(config, world_size=8)
    fit_schedule(config)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 0.05)
    assert config.train_cfg.max_epochs == 300
    warm_up, cosine = config.param_scheduler
    assert (warm_up.type, warm_up.begin, warm_up.end, warm_up.start_factor * optimizer.lr) == ('LinearLR', 0, 5, 1e-6)
    assert (cosine.type, cosine.begin, cosine.end, cosine.eta_min) == ('CosineAnnealingLR', 5, 300, 1e-5)
    assert warm_up.convert_to_iter_based and cosine.convert_to_iter_based
    assert config.model.mixup == dict(mixup_alpha=0.8, cutmix_alpha=1.0)
    assert config.model.label_smoothing == 0.1
    assert config.model.random_erasing == dict(probability=0.25, mode='pixel')
    assert config.train_dataloader.sampler.repeats == 3
    transform = dict(auto_augment='rand-m9-mstd0.5-inc1', color_jitter=0.4, interpolation='bicubic')
    assert config.train_dataloader.dataset.transform == dict(input_size=224, **transform)
    test = dict(input_size=224, crop_pct=0.9, interpolation='bicubic')
    assert config.val_dataloader.dataset.transform == config.test_dataloader.dataset.transform == test
    # of PVTv2's own recipe; DeiT has 0.1 and no clipping
    large = name.split('/')[1].startswith(('ss-pvtv2-b3', 'ss-pvtv2-b4', 'ss-pvtv2-b5'))
    of_swin = {'ss-swin-tiny': 0.2, 'ss-swin-small': 0.3, 'ss-swin-base': 0.5}
    of_xcit = 0.05 if '/ss-xcit-' in name or name in UFO else 0.1
    rate = of_swin.get(name.split('/')[1].split('_')[0], 0.3 if large else of_xcit)
    assert config.model.backbone.drop_path_rate == rate
    assert config.optim_wrapper.get('clip_grad') == (dict(max_norm=1.0) if large else None)


@pytest.mark.parametrize('name', FINE)
def test_the_recipe_of_fine_tuning(name: str) -> None:
    config = read(name).copy()
    scale_learning_rate(config, world_size=8)
    fit_schedule(config)
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay, config.train_cfg.max_epochs) == (5e-6, 1e-8, 30)
    warm_up, rest = config.param_scheduler
    assert (warm_up.end, warm_up.start_factor * optimizer.lr) == (5, pytest.approx(1e-6))
    assert (rest.eta_min_ratio, rest.end) == (1.0, 30)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.transform.input_size == 384
    assert config.model.init_cfg == dict(type='Pretrained', checkpoint='')
    with torch.device('meta'):
        assert MODELS.build({**config.model, 'init_cfg': None}).backbone.img_size == (384, 384)


@pytest.mark.parametrize('name', SPVIT)
def test_the_recipe_of_spvit(name: str) -> None:
    config, deit = read(name).copy(), read('imagenet/ss-vit-tiny_8xb128_in1k.py')
    scale_learning_rate(config, world_size=8)
    fit_schedule(config)
    optimizer, (cosine,) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.lr, optimizer.weight_decay, config.train_cfg.max_epochs) == (1e-4, 0.05, 130)
    assert (cosine.type, cosine.begin, cosine.end, cosine.eta_min) == ('CosineAnnealingLR', 0, 130, 1e-5)
    swin = {'spvit_swin_t_l28_t32': 0.2, 'spvit_swin_sm_l04_t55': 0.3, 'spvit_swin_bs_l01_t100': 0.5}
    backbone = config.model.backbone
    assert backbone.name == name.split('/')[1].split('_')[0].replace('-', '_')
    assert backbone.drop_path_rate == swin.get(backbone.name, 0.1)
    assert config.optim_wrapper.get('clip_grad') == (dict(max_norm=5.0) if backbone.name in swin else None)
    assert config.train_dataloader.sampler.repeats == (1 if backbone.name in swin else 3)
    assert config.train_dataloader.dataset == deit.train_dataloader.dataset
    assert config.val_dataloader.dataset.transform.crop_pct == PRESETS[backbone.name].crop_pct == 0.875
    assert config.test_dataloader == config.val_dataloader
    assert config.model.init_cfg == dict(type='Pretrained', checkpoint='')
    for key in ('mixup', 'random_erasing', 'label_smoothing'):
        assert config.model[key] == deit.model[key]


# weight of the cost, target in G, learning rate of the gates, as the official code has them
SEARCHED = {
    'deit-tiny': (20.0, 1.0, 1e-3),
    'deit-small': (3.0, 3.2, 5e-4),
    'deit-base': (0.06, 10.0, 1e-3),
    'swin-tiny': (2.8, 3.2, 1e-3),
    'swin-small': (0.4, 5.5, 1e-3),
    'swin-base': (0.1, 10.0, 1e-3),
}


@pytest.mark.parametrize('which', SEARCHED)
def test_the_recipe_of_searching(which: str) -> None:
    name = f'imagenet/search/{which}_8xb128_in1k.py'
    assert len(SEARCHES) == len(SEARCHED) and name in SEARCHES
    config, dense = read(name).copy(), read(name.replace('search/', ''))
    scale_learning_rate(config, world_size=8)
    fit_schedule(config)
    assert (config.optim_wrapper.optimizer.lr, config.train_cfg.max_epochs, config.param_scheduler) == (1e-4, 21, [])
    swin = which.startswith('swin')
    assert config.optim_wrapper.get('clip_grad') == (dict(max_norm=5.0) if swin else None)
    assert config.train_dataloader.sampler.repeats == (1 if swin else 3)
    assert config.model == dense.model and config.model.backbone.settings == 'uniform'
    weight, target, rate = SEARCHED[which]
    plan = SearchPlan.of(config)
    with torch.device('meta'):
        network = MODELS.build({**config.model, 'backbone': {**config.model.backbone, 'ramp': 'bias'}}).backbone
        search_form(network)
    assert round(plan.budget * plan.cost_of(network).dense / 1e9, 1) == target
    assert (plan.weight, plan.lr) == (weight, rate)


@pytest.mark.parametrize('name', INHERITED)
def test_the_recipe_after_inheriting(name: str) -> None:
    config, scratch = read(name).copy(), read(name.replace('inherit/', ''))
    scale_learning_rate(config, world_size=8)
    fit_schedule(config)
    optimizer, (warm_up, cosine) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.lr, config.train_cfg.max_epochs) == (2e-4, 30)
    assert config.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.9
    assert (warm_up.end, warm_up.start_factor * optimizer.lr) == (1, pytest.approx(2e-6))
    assert (cosine.begin, cosine.end, cosine.eta_min) == (1, 30, 2e-6)
    model = config.model
    plain = dict(name=model.backbone.name, settings='uniform', checkpoint_path='', soft=True, alpha=0.5)
    assert model.pop('teacher') == plain  # the network itself, as it was
    assert model.pop('init_cfg') == dict(type='Pretrained', checkpoint='')
    assert model == scratch.model
    assert config.optim_wrapper.get('clip_grad') == scratch.optim_wrapper.get('clip_grad')
    assert config.train_dataloader == scratch.train_dataloader


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp('classes'), classes=2, train=2)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_one_step(name: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting the config for the log takes longer than the step
    config = Config.fromfile(ROOT / name)
    config.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    config.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    config.update(work_dir=str(tmp_path), experiment_name=tmp_path.name, log_level='ERROR')
    preset = PRESETS[config.model.backbone.name]
    arch = asdict(preset.network.archs[preset.arch])
    config.model.backbone.update(num_classes=2, arch=arch | shallow(arch))
    if named := preset.network.named_settings.get(preset.settings):
        blocks = named.blocks[: len(shallow(arch).get('depths', [1]))]
        if preset.network is ViT:  # whose class token needs attention
            blocks = [named.blocks[0], named.blocks[-1]]
            config.model.backbone.arch.depth = 2
            assert blocks[-1].mixer == 'attention'
        config.model.backbone.settings = [asdict(block) for block in blocks]
    config.model.init_cfg = None
    if config.model.get('teacher'):
        # any model of timm's is a teacher
        torch.save(timm.create_model('resnet18', num_classes=2).state_dict(), tmp_path / 'teacher.pth')
        config.model.teacher = dict(name='resnet18', num_classes=2, checkpoint_path=str(tmp_path / 'teacher.pth'))
    config.train_dataloader.update(batch_size=2, num_workers=0)
    config.train_dataloader.dataset.data_root = str(images)
    config.train_dataloader.dataset.transform.input_size = 32
    config.train_dataloader.sampler.repeats = 1
    config.train_cfg.max_epochs = 1
    config.param_scheduler = None
    config.default_hooks.checkpoint = None
    config.custom_hooks = [hook for hook in config.custom_hooks if not hook.type.endswith('PreemptionHook')]
    config.visualizer.vis_backends = []
    runner = Runner.from_cfg(config)
    gradients = {}
    for key, parameter in runner.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda of, key=key: gradients.update({key: bool(torch.isfinite(of.grad).all())})
        )
    runner.train()
    assert runner.iter == 2 and math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    assert gradients.keys() == {key for key, _ in runner.model.named_parameters()} and all(gradients.values())


def test_every_config_names_its_model() -> None:
    for row in PVT_V2:
        assert read(f'imagenet/ss-pvtv2-{row.arch.replace("_", "-")}_8xb128_in1k.py').model.backbone.name == row.name
    for config, name in PROBES.items():
        assert read(config).model.backbone.name == name
    for kind, rows in (('swin', SWIN), ('vit', VIT), ('xcit', XCIT)):
        for row in rows:
            assert (
                read(f'imagenet/ss-{kind}-{row.arch.replace("_", "-")}_8xb128_in1k.py').model.backbone.name == row.name
            )
