"""Top-1 and top-5 accuracy."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from ..registry import METRICS
from .dataset import LEFT_OUT
from .errors import DataError


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Top-1 and top-5 accuracy in percent, and the cross entropy, over all processes.

    Every image counts once, whatever the number of processes; those that could not be read are left out and counted.
    """

    default_prefix = 'accuracy'

    def __init__(self) -> None:
        # objects go through the process group: a folder, mmengine's other way, need not be shared between nodes
        super().__init__(collect_device='gpu')

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Take in the logits (num_classes,) of a batch's images; ``data_batch`` has their classes."""
        logits = torch.stack(list(data_samples)).float().cpu()
        targets = data_batch['data_samples'].cpu()
        known = targets.clamp(min=0)
        right = logits.gather(1, known[:, None])
        # how many classes are before the right one; of equals the first is, or a dead network would be right always
        better = ((logits > right) | (logits == right) & (torch.arange(logits.shape[1]) < known[:, None])).sum(1)
        better += ~logits.isfinite().all(1) * logits.shape[1]  # NaN is before nothing, and no right answer
        losses = F.cross_entropy(logits, known, reduction='none')
        for target, place, loss in zip(targets.tolist(), better.tolist(), losses.tolist(), strict=True):
            self.results.append((LEFT_OUT if target == LEFT_OUT else place, loss))  # None would be lost on the way

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The means over all images."""
        counted = [result for result in results if result[0] != LEFT_OUT]
        if not counted:
            raise DataError('There was no image to evaluate, or none could be read.')
        if len(counted) < len(results):
            text = f'{len(results) - len(counted)} of {len(results)} images could not be read and were left out.'
            print_log(text, logger='current', level=logging.WARNING)
        places, losses = torch.tensor(counted).T
        return {
            'top1': 100 * (places < 1).float().mean().item(),
            'top5': 100 * (places < 5).float().mean().item(),
            'cross_entropy': losses.mean().item(),  # mmengine's log would smooth over epochs what is called a loss
        }
