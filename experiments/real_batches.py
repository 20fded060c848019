"""Batches of two real images, as the detectors and segmenters of mmdet and mmsegmentation want them.

Images have 256 x 192 pixels, or more where the coarsest map would have less than 3 x 3 cells, which is too few for
deformable convolutions. What a data set does not have is made out of what it has: a map of classes out of
the masks (the pixels of no instance are the first class of "stuff"), the proposals of Fast R-CNN out of the boxes, and
two frames of a video out of one image.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS

_SIDE = (256, 192)  # width and height
_STUFF = 80  # behind the things of COCO
_VOID, _IGNORED = 11, 255  # CamVid's label of what is none of its classes; what all heads leave out


@TRANSFORMS.register_module()
class CompleteInstances(BaseTransform):
    """Adds the map of classes and the proposals, and brings the labels into the classes that the model has."""

    def __init__(self, classes: int, with_masks: bool) -> None:
        self.classes = classes
        self.with_masks = with_masks

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Labels are counted from 0 again when there are none left, so that one data set is enough."""
        labels, masks = results['gt_bboxes_labels'], results['gt_masks'].masks
        found = np.full(results['img'].shape[:2], _STUFF, np.uint8)
        for mask, label in zip(masks, labels, strict=True):
            found[mask > 0] = label
        results['gt_seg_map'] = found
        results['gt_bboxes_labels'] = labels % self.classes
        results['gt_instances_ids'] = np.arange(len(labels))
        if not self.with_masks:  # some heads for boxes alone cannot do with masks
            del results['gt_masks']
        results['proposals'] = results['gt_bboxes'].tensor
        results['proposals_scores'] = np.ones(len(labels), np.float32)
        return results


@TRANSFORMS.register_module()
class CompleteMap(BaseTransform):
    """Ignores what has no class, and brings the others into the classes that the model has."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """As above."""
        found = results['gt_seg_map']
        void = found == _VOID
        results['gt_seg_map'] = np.where(void, _IGNORED, found % self.classes).astype(found.dtype)
        return results


@TRANSFORMS.register_module()
class TwoFrames(BaseTransform):
    """A video of one image, seen twice."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Every entry twice, and the first is the key frame."""
        results['gt_bboxes'] = results['gt_bboxes'].tensor.numpy()  # as LoadTrackAnnotations has them
        frames = {key: [value, value] for key, value in results.items()}
        return {
            **frames,
            'frame_id': [0, 1],
            'video_id': [0, 0],
            'video_length': [2, 2],
            'key_frame_flags': [True, False],
        }


def batch(config: Config, coco: Path, segmentation: Path) -> dict[str, Any]:
    """Two images as the config's model takes them in ``train_step``.

    Args:
        config: Of mmdet or mmsegmentation; its scope is the default one.
        coco: COCO-format data, with annotations/instances_train2017.json and train2017/.
        segmentation: Images in images/train and maps of classes in annotations/train.
    """
    kind = config.model.data_preprocessor.type if config.model.get('data_preprocessor') else ''
    if config.default_scope == 'mmseg':
        dataset = _maps(segmentation, config)
    else:
        dataset = _instances(coco, config, video=kind == 'TrackDataPreprocessor')
    data = pseudo_collate([dataset[0], dataset[1]])
    if kind == 'MultiBranchDataPreprocessor':  # of a teacher and a student
        branches = ('sup', 'unsup_teacher', 'unsup_student')
        return {key: {branch: value for branch in branches} for key, value in data.items()}
    return data


def size_for(config: Config) -> tuple[int, int]:
    """Width and height of the images for a config."""
    strides = ' '.join(re.findall(r"strides': [\[(]([\d, ]+)", str(config.model)))
    least = 3 * max(map(int, re.findall(r'\d+', strides)), default=0)
    return max(_SIDE[0], least), max(_SIDE[1], least)


def _instances(folder: Path, config: Config, video: bool) -> Any:
    model = config.model.get('detector') or config.model
    pack = {'type': 'PackDetInputs', 'meta_keys': ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')}
    pack['meta_keys'] += ('flip', 'flip_direction', 'homography_matrix')
    return DATASETS.build(
        {
            'type': 'CocoDataset',
            'data_root': str(folder),
            'ann_file': 'annotations/instances_train2017.json',
            'data_prefix': {'img': 'train2017/'},
            'filter_cfg': {'filter_empty_gt': True, 'min_size': 32},
            'pipeline': [
                {'type': 'LoadImageFromFile'},
                {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
                {'type': 'Resize', 'scale': size_for(config), 'keep_ratio': False},
                {'type': 'FilterAnnotations', 'min_gt_bbox_wh': (2, 2)},
                {'type': 'RandomFlip', 'prob': 0.5},
                {
                    'type': 'CompleteInstances',
                    'classes': _classes(model.get('roi_head') or model),
                    'with_masks': bool(re.search('Panoptic|with_mask.: True', str(config.get('train_dataloader')))),
                },
                *([{'type': 'TwoFrames'}, {'type': 'PackTrackInputs'}] if video else [pack]),
            ],
        }
    )


def _maps(folder: Path, config: Config) -> Any:
    return DATASETS.build(
        {
            'type': 'BaseSegDataset',
            'data_root': str(folder),
            'data_prefix': {'img_path': 'images/train', 'seg_map_path': 'annotations/train'},
            'img_suffix': '.jpg',
            'seg_map_suffix': '.png',
            'pipeline': [
                {'type': 'LoadImageFromFile'},
                {'type': 'LoadAnnotations'},
                {'type': 'Resize', 'scale': size_for(config), 'keep_ratio': False},
                {'type': 'RandomFlip', 'prob': 0.5},
                {'type': 'CompleteMap', 'classes': _classes(config.model)},
                {'type': 'PackSegInputs'},
            ],
        }
    )


def _classes(part: Any) -> int:
    """The fewest classes that a head in this part of a model has; a map of classes beside the boxes has its own."""
    if isinstance(part, Mapping):
        inside = [_classes(value) for key, value in part.items() if 'semantic' not in key]
        own = part.get('num_classes') or part.get('num_things_classes')
        return min([*inside, *([own] if isinstance(own, int) else [])], default=_STUFF)
    if isinstance(part, list | tuple):
        return min(map(_classes, part), default=_STUFF)
    return _STUFF
