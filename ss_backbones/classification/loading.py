"""From images to batches."""

from collections.abc import Sequence

import torch
from timm.data.loader import fast_collate

from ..registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_images(batch: Sequence[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """Images (C, H, W) and classes to a batch for :class:`ImageClassifier`: (B, C, H, W) in uint8, and (B,)."""
    inputs, targets = fast_collate(batch)
    return {'inputs': inputs, 'data_samples': targets}
