"""The configs at a size that takes seconds."""

from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from config_files import load, tiny_dataset
from mmengine.config import Config
from small_networks import shallow

import ss_backbones

SIDE = (64, 64)
SIZES = {'scale': SIDE, 'img_scale': SIDE, 'crop_size': SIDE, 'size': SIDE, 'scales': [SIDE]}
QUERIES = 20
DETECTOR = 'mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
SEGMENTER = 'upernet/upernet_ss-pvtv2-b0_8xb2-160k_ade20k-512x512.py'
_WIDTHS = (
    'neck.out_channels',
    'rpn_head.in_channels',
    'rpn_head.feat_channels',
    'roi_head.bbox_roi_extractor.out_channels',
    'roi_head.bbox_head.in_channels',
    'roi_head.bbox_head.fc_out_channels',
    'roi_head.mask_roi_extractor.out_channels',
    'roi_head.mask_head.in_channels',
    'roi_head.mask_head.conv_out_channels',
)
ITERATIONS = 4  # of the detector in two epochs


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


def config_of(name: str, folder: Path, work_dir: Path | None = None, **options: object) -> Config:
    """A tiny training of the detector or the segmenter; its images are the same as every other's."""
    config = make_tiny(load(name), Path(mkdtemp(dir=folder)), images=4)
    config.train_cfg.update({'max_iters': ITERATIONS} if 'max_iters' in config.train_cfg else {'max_epochs': 2})
    if name == SEGMENTER:
        config.merge_from_dict({f'model.{head}.channels': 16 for head in ('decode_head', 'auxiliary_head')})
    else:
        config.merge_from_dict({f'model.{key}': 16 for key in _WIDTHS})
    interval = 1 if 'max_epochs' in config.train_cfg else 2
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch='max_epochs' in config.train_cfg, interval=interval
    )
    config.update(work_dir=str(work_dir or folder / 'work'), log_level='INFO', experiment_name=None)
    config.merge_from_dict(options)
    return config
