"""From images to batches."""

import signal
from collections.abc import Sequence

import torch
from timm.data.loader import fast_collate

from ..registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_images(batch: Sequence[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """Images (C, H, W) and classes to a batch for :class:`ImageClassifier`: (B, C, H, W) in uint8, and (B,)."""
    inputs, targets = fast_collate(batch)
    return {'inputs': inputs, 'data_samples': targets}


@FUNCTIONS.register_module()
def start_worker(worker_id: int) -> None:
    """What a worker begins with: the seeds that torch gives it, and deafness to the signals of :class:`PreemptionHook`.

    mmengine's own start of a worker would give it the same seeds in every epoch. Clusters send their signals to every
    process of a job, and a worker that ends takes the training down before it has written its checkpoint.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # the second one may be from the training itself, which ends workers so where all else has failed
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
