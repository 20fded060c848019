"""A classifier's data set of a few generated images, and a config that trains on it within seconds."""

from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def write_classes(folder: Path, classes: int = 3, train: int = 8, val: int = 5, side: int = 40) -> Path:
    """Writes train/ and val/ with so many noisy images for each class, whose colour tells the class."""
    rng = np.random.default_rng(0)
    for split, count in (('train', train), ('val', val)):
        for c in range(classes):
            place = folder / split / f'class{c}'
            place.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
                image[..., c % 3] += 100
                Image.fromarray(image).save(place / f'{i}.png')
    return folder


def write_config(path: Path, more: str = '', epochs: int = 2, data: str | Path = 'data/imagenet') -> Path:
    """Writes a child of the real SS-PVTv2-B0 config for 3 classes of images of 32 pixels; ``more`` goes to its end."""
    path.write_text(
        f"""
_base_ = '{ROOT}/configs/imagenet/ss-pvtv2-b0_8xb128_in1k.py'
model = dict(backbone=dict(num_classes=3))
dataset = dict(data_root='{data}', transform=dict(input_size=32))
train_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs})
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=1))
{more}
"""
    )
    return path
