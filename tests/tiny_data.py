"""Data sets of a few generated images, for the tests that run pipelines."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_coco(folder: Path, classes: tuple[str, ...], images: int = 1) -> dict:
    """Writes a COCO-format set: images of 64 x 48 with one rectangle each. Returns the dataset's settings for it."""
    (folder / 'images').mkdir(parents=True)
    content = {
        'images': [],
        'annotations': [],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(classes, start=1)],
    }
    rng = np.random.default_rng(0)
    for i in range(1, images + 1):
        image = rng.integers(0, 80, (48, 64, 3), dtype=np.uint8)
        x, y, w, h = 5 * i, 3 * i, 34, 30
        image[y : y + h, x : x + w] = 255
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), image)
        content['images'].append({'id': i, 'file_name': f'{i}.png', 'width': 64, 'height': 48})
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        content['annotations'].append(
            {
                'id': i,
                'image_id': i,
                'category_id': 1,
                'bbox': [x, y, w, h],
                'area': w * h,
                'iscrowd': 0,
                'segmentation': [corners],
            }
        )
    (folder / 'annotations.json').write_text(json.dumps(content))
    return {'data_root': str(folder), 'ann_file': 'annotations.json', 'data_prefix': {'img': 'images'}}


def write_segmentation(folder: Path, image_suffix: str, map_suffix: str) -> dict:
    """The same for mmseg: one image and its map of classes 0 and 1."""
    for name in ('images', 'maps'):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / 'images' / f'1{image_suffix}'), np.full((48, 64, 3), 80, dtype=np.uint8))
    cv2.imwrite(str(folder / 'maps' / f'1{map_suffix}'), np.eye(48, 64, dtype=np.uint8))
    return {'data_root': str(folder), 'ann_file': '', 'data_prefix': {'img_path': 'images', 'seg_map_path': 'maps'}}
