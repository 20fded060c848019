"""The instances in mmdet's samples: annotated and predicted."""

from __future__ import annotations

import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from torch import nn
from torchvision.ops import masks_to_boxes

from .painting import Instances


def truth(info: dict, height: int, width: int, classes: int) -> Instances:
    """The annotated instances of one entry of a data set, in the image's own pixels.

    Args:
        info: The entry.
        height: Of the image in pixels.
        width: The same.
        classes: How many there are; every instance is of one.
    """
    loaded = LoadAnnotations(with_bbox=True, with_mask=True)({**info, 'ori_shape': (height, width)})
    masks = loaded['gt_masks'].to_tensor(dtype=torch.bool, device='cpu')
    return Instances(loaded['gt_bboxes'].tensor, torch.from_numpy(loaded['gt_bboxes_labels']), masks=masks)


def prediction(sample: DetDataSample, score_thr: float, model: nn.Module) -> Instances:
    """What a detector found.

    Args:
        sample: What the model returned.
        score_thr: The lowest score of an instance; the segments of a panoptic map have none.
        model: The detector.
    """
    if 'pred_instances' not in sample:
        return _panoptic(sample.pred_panoptic_seg.sem_seg[0].cpu(), model.panoptic_fusion_head.num_classes)
    found = sample.pred_instances.cpu()
    found = found[found.scores >= score_thr]
    if 'masks' not in found:
        return Instances(found.bboxes, found.labels, found.scores)
    masks = torch.as_tensor(found.masks, dtype=torch.bool)
    if found.bboxes.any():
        return Instances(found.bboxes, found.labels, found.scores, masks)
    there = masks.flatten(1).any(dim=1)  # of detectors without boxes, such as SOLO
    return Instances(masks_to_boxes(masks[there]), found.labels[there], found.scores[there], masks[there])


def _panoptic(segments: torch.Tensor, classes: int) -> Instances:
    """A segment's number holds its label and its instance; a label beyond the classes says that nothing is there."""
    numbers = segments.unique()
    numbers = numbers[numbers % INSTANCE_OFFSET < classes]
    masks = segments == numbers.view(-1, 1, 1)
    return Instances(masks_to_boxes(masks), numbers % INSTANCE_OFFSET, masks=masks)
