"""The configs at a size that takes seconds."""

from dataclasses import asdict
from pathlib import Path

from config_files import tiny_dataset
from mmengine.config import Config
from small_networks import shallow

import ss_backbones

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


def make_tiny(config: Config, folder: Path, images: int = 2) -> Config:
    """The config with images of 64 x 64, written to the folder, and few blocks; one iteration, nothing evaluated."""
    backbone = config.model.backbone
    arch = asdict(getattr(ss_backbones, backbone.type).archs[backbone.arch])
    backbone.arch = arch | shallow(arch)
    if backbone.get('global_blocks'):
        backbone.global_blocks = None
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset = tiny_dataset(config, 'train_dataloader', folder / 'set', images=images)
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
