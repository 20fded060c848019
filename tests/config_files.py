"""What the tests of the configs share: where they are, how to read them, and tiny data for their pipelines."""

import re
from copy import deepcopy
from functools import cache
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from tiny_data import write_coco, write_segmentation

ROOT = Path(__file__).resolve().parents[1] / 'configs'
_ALL = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
CLASSIFIERS = [name for name in _ALL if name.startswith('imagenet/')]
SWAPPED = [name for name in _ALL if name.startswith('swapped/')]  # made by ss-backbones swap
SEARCHES = [name for name in _ALL if name.startswith('search/')]  # inside detectors and segmenters
CONFIGS = [name for name in _ALL if name not in (*CLASSIFIERS, *SWAPPED, *SEARCHES)]  # of mmdet and mmseg
SPVIT = [name for name in CONFIGS if '_spvit-' in name]  # each is an SS config with other settings
UFO = [name for name in CONFIGS if '_ufo-vit-' in name]  # UFO-ViT, which has no SS in it
# in a file's name: the family, and its plain twin
TWINS = {'ss-pvtv2': 'pvtv2', 'ss-swin': 'swin', 'ss-vit': 'deit', 'ss-xcit': 'xcit'}


def twin_of(name: str) -> str:
    family = next(family for family in TWINS if re.search(f'[_/]{family}-', name))
    return re.sub(f'([_/]){family}-', rf'\1{TWINS[family]}-', name)


def _kind_of(name: str) -> str:
    """What configs that differ in the arch, the attention and the settings of their backbones have in common."""
    name = re.sub('_spvit-(deit|swin)-[^_]+', lambda match: f'_ss-{ {"deit": "vit"}.get(match[1], match[1]) }-x', name)
    ours = next((name.replace(f'{twin}-', f'{ss}-') for ss, twin in TWINS.items() if f'_{twin}-' in name), name)
    return re.sub(r'(_(?:ss-[a-z]+\d?|ufo-vit))-[a-z0-9]+(-\d+)?(-ufo)?_', r'\1_', ours)


FIRST = {
    name: min(
        (c for c in CONFIGS if ('_ss-' in c or c in UFO) and _kind_of(c) == _kind_of(name)),
        key=lambda c: ('-ufo_' in c, c),
    )
    for name in CONFIGS
}
KINDS = sorted(set(FIRST.values()))  # one config of each recipe for each family, see test_configs_of_a_kind


def configs_in(*folders: str) -> list[str]:
    return [name for name in CONFIGS if name.startswith(tuple(f'{folder}/' for folder in folders))]


@cache
def read(name: str) -> Config:
    """A config that is nobody's to change."""
    return Config.fromfile(ROOT / name)


def load(name: str) -> Config:
    """A config of one's own, in the scope of its library."""
    config = deepcopy(read(name))  # mmengine's own copy() shares what is nested
    init_default_scope(config.default_scope)
    return config


def tiny_dataset(config: Config, loader: str, folder: Path, images: int = 1) -> dict:
    """The settings of a dataloader's dataset with its own pipeline, for a set that is written to the folder."""
    dataset = config[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    unread = DATASETS.build({**dataset, 'lazy_init': True})
    if config.default_scope == 'mmseg':
        place = write_segmentation(folder, unread.img_suffix, unread.seg_map_suffix)
    else:
        place = write_coco(folder, unread.metainfo['classes'], images)
    return {**dataset, **place}


def build_tiny_dataset(config: Config, loader: str, folder: Path) -> BaseDataset:
    return DATASETS.build(tiny_dataset(config, loader, folder))
