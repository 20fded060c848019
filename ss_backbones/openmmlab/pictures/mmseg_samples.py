"""The classes of pixels in mmseg's samples: annotated and predicted."""

from __future__ import annotations

import torch
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample
from torch import nn

from ...errors import DataError
from .painting import NOTHING, ClassMap


def truth(info: dict, height: int, width: int, classes: int) -> ClassMap:
    """The label map of one entry of a data set.

    Args:
        info: The entry.
        height: Of the image in pixels, and so of the map.
        width: The same.
        classes: How many there are; what is to be ignored has a label beyond them.

    Raises:
        DataError: There is none.
    """
    if 'seg_map_path' not in info:
        raise DataError('The test set has no label maps: its data_prefix has no seg_map_path.')
    labels = torch.from_numpy(LoadAnnotations()(info)['gt_seg_map'].astype(int))
    return ClassMap(labels.where(labels < classes, NOTHING))


def prediction(sample: SegDataSample, score_thr: float, model: nn.Module) -> ClassMap:
    """What a segmenter says; its map has no scores, and needs no model."""
    return ClassMap(sample.pred_sem_seg.data[0].cpu())
