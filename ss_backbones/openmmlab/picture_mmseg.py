"""What a picture of predictions shows for a config of mmseg: the pixels' classes as colours, and their names."""

from __future__ import annotations

from collections.abc import Mapping

import mmcv
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.apis import inference_model
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..errors import DataError


class Painter:
    """Draws the panels of one model's images; their longer side has ``side`` pixels."""

    title = 'prediction'

    def __init__(self, model: torch.nn.Module, metainfo: Mapping[str, object], side: int, score_thr: float) -> None:
        self.model, self.side, self.metainfo = model, side, metainfo  # a map has no scores
        self.shown: set[int] = set()
        self.visualizer = SegLocalVisualizer(alpha=0.8)
        self.visualizer.dataset_meta = metainfo

    @property
    def legend(self) -> dict[str, tuple[int, ...]]:
        """The colours of the classes that the panels drawn so far show."""
        classes = zip(self.metainfo['classes'], self.metainfo['palette'], strict=True)
        return {name: tuple(colour) for label, (name, colour) in enumerate(classes) if label in self.shown}

    def pair(self, info: dict) -> tuple[np.ndarray, np.ndarray]:
        """The panels of an entry of the data set: truth and prediction."""
        if 'seg_map_path' not in info:
            raise DataError('The test set has no label maps: its data_prefix has no seg_map_path.')
        truth = LoadAnnotations()(info)['gt_seg_map']
        predicted = inference_model(self.model, info['img_path']).pred_sem_seg.data[0].cpu().numpy()
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        return self.panel(image, truth), self.panel(image, predicted)

    def panel(self, image: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The image, enlarged, under the colours of its pixels' classes; what is to be ignored (255) is black."""
        large = mmcv.imrescale(image, self.side / max(image.shape[:2]), interpolation='bicubic')
        labels = mmcv.imresize(classes.astype(np.uint8), large.shape[1::-1], interpolation='nearest')
        self.shown |= set(np.unique(labels).tolist())
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(labels)[None]))
        self.visualizer.add_datasample('panel', large, sample, with_labels=False)
        return self.visualizer.get_image()
