"""Every kind of config takes a training step through its own library: its data, heads, losses, optimiser and schedule.

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
from config_files import KINDS, load, tiny_dataset  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from small_networks import shallow  # noqa: E402

import ss_backbones  # noqa: E402

SIDE = (64, 64)


def make_tiny(config: Config, folder: Path) -> Config:
    """The config with images of 64 x 64 and few blocks, for one iteration without evaluation or files."""
    backbone = config.model.backbone
    arch = asdict(getattr(ss_backbones, backbone.type).archs[backbone.arch])
    backbone.arch = arch | shallow(arch)
    if backbone.get('global_blocks'):
        backbone.global_blocks = None
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset = tiny_dataset(config, 'train_dataloader', folder / 'set', images=2)
    for step in config.train_dataloader.dataset.pipeline:
        for key, small in (('scale', SIDE), ('scales', [SIDE]), ('crop_size', SIDE)):
            if key in step:
                step[key] = small
    if 'size' in config.model.data_preprocessor:
        config.model.data_preprocessor.size = SIDE
    config.model.backbone.init_cfg = None
    if 'rcnn' in config.model.get('train_cfg', {}):  # few regions, so that the heads do not take most of the time
        config.model.train_cfg.rpn_proposal.max_per_img = 8
        config.model.train_cfg.rcnn.sampler.num = 8
    config.train_cfg.update({'max_iters' if 'max_iters' in config.train_cfg else 'max_epochs': 1})
    for part in ('val', 'test'):
        config.update({f'{part}_cfg': None, f'{part}_dataloader': None, f'{part}_evaluator': None})
    config.default_hooks.checkpoint = None
    config.visualizer.vis_backends = []
    config.update(work_dir=str(folder / 'work'), experiment_name=folder.name, log_level='ERROR')
    config.randomness = {'seed': 0}
    return config


@pytest.mark.parametrize('name', KINDS)
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
