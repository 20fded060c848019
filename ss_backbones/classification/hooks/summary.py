"""What came of a training, at its end."""

import time
from pathlib import Path

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class SummaryHook(Hook):
    """Logs the best and the last epoch, the speed, and what to do with the checkpoint.

    Each epoch's top-1 accuracy is kept with the checkpoints, so that a resumed run knows the best of all of them.
    """

    priority = 'NORMAL'  # before CheckpointHook, so that what is noted is in the checkpoint

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self._start, self._first = time.monotonic(), runner.iter
        self._images, self._seconds = 0, 0.0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: object = None
    ) -> None:
        """Count images and the seconds of training steps, without validations and checkpoints."""
        self._images += len(data_batch['inputs']) * get_world_size()
        self._seconds += runner.message_hub.get_scalar('train/time').current()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note the epoch's accuracy."""
        if 'accuracy/top1' not in metrics:  # another evaluator
            return
        accuracies = dict(runner.message_hub.get_info('accuracies', {}))
        accuracies[runner.epoch] = metrics['accuracy/top1']
        runner.message_hub.update_info('accuracies', accuracies)

    def after_train(self, runner: Runner) -> None:
        """Say it."""
        minutes = (time.monotonic() - self._start) / 60
        lines = [f'Trained to epoch {runner.epoch} in {minutes:.1f} min ({runner.iter - self._first} iterations).']
        if self._seconds:
            lines.append(f'Images per second: {self._images / self._seconds:.1f} on average.')
        accuracies = runner.message_hub.get_info('accuracies', {})
        if accuracies:
            best = max(accuracies, key=accuracies.get)
            last = max(accuracies)
            lines.append(f'Best: top-1 {accuracies[best]:.2f} at epoch {best}; last: {accuracies[last]:.2f} at {last}.')
        weights = runner.message_hub.get_info('best_ckpt') or runner.message_hub.get_info('last_ckpt')
        if weights:
            weights = Path(runner.work_dir, Path(weights).name)  # the folder may have been moved since
            lines.append(
                "Into a detector's backbone: "
                f"init_cfg=dict(type='Pretrained', checkpoint='{weights}', prefix='backbone.')"
            )
        runner.logger.info('\n'.join(['Summary', *(f'  {line}' for line in lines)]))
