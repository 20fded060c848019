"""What a picture of predictions shows for a config of mmdet: instances with boxes, masks and names."""

from __future__ import annotations

from collections.abc import Mapping

import mmcv
import numpy as np
import torch
from mmdet.apis import inference_detector
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData


def truth_of(info: dict, height: int, width: int) -> InstanceData:
    """The annotated instances of one entry of a data set, in the image's own pixels."""
    loaded = LoadAnnotations(with_bbox=True, with_mask=True)({**info, 'ori_shape': (height, width)})
    return InstanceData(
        bboxes=loaded['gt_bboxes'].tensor, labels=torch.from_numpy(loaded['gt_bboxes_labels']), masks=loaded['gt_masks']
    )


def enlarged(instances: InstanceData, factor: float, height: int, width: int) -> InstanceData:
    """The instances for an image that was resized to (height, width)."""
    result = InstanceData(bboxes=instances.bboxes.cpu() * factor, labels=instances.labels.cpu())
    if 'scores' in instances:
        result.scores = instances.scores.cpu()
    if 'masks' in instances:
        masks = instances.masks
        if isinstance(masks, torch.Tensor):
            masks = BitmapMasks(masks.cpu().numpy().astype(np.uint8), *masks.shape[-2:])
        result.masks = masks.resize((height, width))
    return result


class Painter:
    """Draws the panels of one model's images; their longer side has ``side`` pixels."""

    def __init__(self, model: torch.nn.Module, metainfo: Mapping[str, object], side: int, score_thr: float) -> None:
        self.model, self.side, self.score_thr = model, side, score_thr
        self.title = f'prediction, score from {score_thr:g}'
        self.legend: dict[str, tuple[int, ...]] = {}  # the names stand in the panels
        self.visualizer = DetLocalVisualizer(line_width=2, alpha=0.5)
        self.visualizer.dataset_meta = metainfo
        np.random.seed(0)  # the visualizer varies its colours at random

    def pair(self, info: dict) -> tuple[np.ndarray, np.ndarray]:
        """The panels of an entry of the data set: truth and prediction."""
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        predicted = inference_detector(self.model, info['img_path']).pred_instances
        return self.panel(image, truth_of(info, *image.shape[:2])), self.panel(image, predicted)

    def panel(self, image: np.ndarray, instances: InstanceData) -> np.ndarray:
        """The image, enlarged for legible names, with the instances drawn on it."""
        factor = self.side / max(image.shape[:2])
        large = mmcv.imrescale(image, factor, interpolation='bicubic')
        sample = DetDataSample()
        drawn = enlarged(instances, factor, *large.shape[:2])
        is_truth = 'scores' not in instances
        if is_truth:
            sample.gt_instances = drawn
        else:
            sample.pred_instances = drawn
        self.visualizer.add_datasample(
            'panel', large, sample, draw_gt=is_truth, draw_pred=not is_truth, pred_score_thr=self.score_thr
        )
        return self.visualizer.get_image()
