"""Every kind of config, and every swapped one, takes a training step: its data, heads, losses, optimiser and schedule.

Networks keep their width, and one block of each stage. test_configs.py builds all of them, and shows what one config of
a kind stands for.
"""

import math
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch  # noqa: E402
from config_files import KINDS, SWAPPED, load, tiny_dataset  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from small_networks import shallow  # noqa: E402

import ss_backbones  # noqa: E402

SIDE = (64, 64)
SIZES = {'scale': SIDE, 'img_scale': SIDE, 'crop_size': SIDE, 'size': SIDE, 'scales': [SIDE]}
QUERIES = 20


def shrink(value: object) -> None:
    """Make images small wherever their sizes are said."""
    if isinstance(value, dict):
        value.update({key: small for key, small in SIZES.items() if key in value})
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            shrink(inner)


def make_tiny(config: Config, folder: Path) -> Config:
    """The config with images of 64 x 64 and few blocks, for one iteration without evaluation or files."""
    backbone = config.model.backbone
    arch = asdict(getattr(ss_backbones, backbone.type).archs[backbone.arch])
    backbone.arch = arch | shallow(arch)
    if backbone.get('global_blocks'):
        backbone.global_blocks = None
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset = tiny_dataset(config, 'train_dataloader', folder / 'set', images=2)
    shrink(config.train_dataloader.dataset.pipeline)
    shrink(config.model.data_preprocessor)
    config.model.backbone.init_cfg = None
    rcnn = config.model.get('train_cfg', {}).get('rcnn')
    if rcnn:  # few regions, so that the heads do not take most of the time
        config.model.train_cfg.rpn_proposal.max_per_img = 8
        for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
            stage.sampler.num = 8
    if config.model.get('num_queries', 0) > QUERIES:  # DINO has one for each of the best places in the maps
        config.model.num_queries = QUERIES
    config.train_cfg.update({'max_iters' if 'max_iters' in config.train_cfg else 'max_epochs': 1})
    for part in ('val', 'test'):
        config.update({f'{part}_cfg': None, f'{part}_dataloader': None, f'{part}_evaluator': None})
    config.default_hooks.checkpoint = None
    config.visualizer.vis_backends = []
    config.update(work_dir=str(folder / 'work'), experiment_name=folder.name, log_level='ERROR')
    config.randomness = {'seed': 0}
    return config


@pytest.mark.parametrize('name', [*KINDS, *SWAPPED])
def test_one_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting the config for the log takes longer than the step
    runner = Runner.from_cfg(make_tiny(load(name), tmp_path))
    gradients = {}
    for key, parameter in runner.model.backbone.named_parameters():
        # the optimiser's wrapper throws the gradients away after the step
        parameter.register_post_accumulate_grad_hook(
            lambda of, key=key: gradients.update({key: bool(torch.isfinite(of.grad).all())})
        )
    runner.train()

    assert runner.iter == 1
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    trainable = {key for key, parameter in runner.model.backbone.named_parameters() if parameter.requires_grad}
    assert trainable
    assert set(gradients) == trainable
    assert all(gradients.values())
