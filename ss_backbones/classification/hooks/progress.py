"""How fast a training goes, and what memory it takes."""

import resource

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from ...registry import HOOKS

_WINDOW = 100  # steps


@HOOKS.register_module()
class ProgressHook(Hook):
    """Adds images per second of all processes, and on a CPU the peak memory of this one, to mmengine's log.

    mmengine's own log has the remaining time, the learning rate and a GPU's memory.
    """

    priority = 'NORMAL'  # after the timer, before the logger

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: object = None
    ) -> None:
        """Log this step's figures."""
        # the mean of the rates would make little of the seconds that are spent waiting for data
        seconds = runner.message_hub.get_scalar('train/time').mean(_WINDOW)
        images = len(data_batch['inputs']) * get_world_size()
        runner.message_hub.update_scalar('train/images_per_s', images / max(seconds, 1e-9))
        if not torch.cuda.is_available():
            runner.message_hub.update_scalar(
                'train/memory_mb', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Forget old figures: mmengine copies all of them at every step, and writes them to every checkpoint."""
        scalars = runner.message_hub.log_scalars
        for name in [name for name in scalars if name.startswith('train/')]:
            values, counts = scalars[name].data
            scalars[name] = HistoryBuffer(values[-_WINDOW:], counts[-_WINDOW:])
