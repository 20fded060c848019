"""What a run does, how fast, and what memory it takes."""

import resource
import time
from collections.abc import Mapping, Sized

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...registry import HOOKS

_WINDOW = 100  # steps
_SILENCE = 15  # seconds


@HOOKS.register_module()
class ProgressHook(Hook):
    """Says what will happen, and never nothing for more than 15 seconds while there are iterations.

    It adds images per second of all processes, and on a CPU the peak memory of this one, to mmengine's log, which has
    the remaining time, the learning rate and a GPU's memory.
    """

    priority = 'NORMAL'  # after the timer, before the logger

    def before_run(self, runner: Runner) -> None:
        """What was prepared is in the log file; from now on all is on the screen too."""
        if console := getattr(runner, 'console', None):
            console.preparing = False

    def before_train(self, runner: Runner) -> None:
        """Say what will be trained, how long, and where it goes."""
        loop = runner.train_loop
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        what = type(model).__name__
        if (backbone := getattr(model, 'backbone', None)) is not None:
            what += f' with {type(backbone).__name__}'
        each = ''
        if batch := runner.cfg.get('train_dataloader', {}).get('batch_size'):
            each = f' of {batch * get_world_size()} images'
        unit = 'epoch' if loop.max_epochs > 1 or hasattr(loop, 'run_epoch') else 'iteration'
        length = f'{loop.max_iters} iterations{each}'
        if unit == 'epoch':
            length += f' in {loop.max_epochs} epochs'
        start = f', going on after {loop.iter}' if loop.iter else ''
        checked = ''
        if runner.val_loop is not None:
            every = loop.val_interval
            checked = f', validated after every {f"{every} {unit}s" if every > 1 else unit}'
        place = f' Checkpoints go to {runner.work_dir}, the whole log to {log_file_of(runner)}.'
        runner.logger.info(f'Training {what}: {length}{start}{checked}.{place} Ctrl-C saves and stops.')
        self._heard(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: Mapping | None = None
    ) -> None:
        """Log this step's figures."""
        hub = runner.message_hub
        inputs = data_batch.get('inputs') if isinstance(data_batch, Mapping) else None
        if isinstance(inputs, Sized) and not isinstance(inputs, Mapping) and 'train/time' in hub.log_scalars:
            # the mean of the rates would make little of the seconds that are spent waiting for data
            seconds = hub.get_scalar('train/time').mean(_WINDOW)
            hub.update_scalar('train/images_per_s', len(inputs) * get_world_size() / max(seconds, 1e-9))
        if not torch.cuda.is_available():
            hub.update_scalar('train/memory_mb', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if not self._is_silent(runner) or self.every_n_inner_iters(batch_idx, self._interval(runner)):
            return
        loss = f', loss {outputs["loss"].item():.4f}' if isinstance(outputs, Mapping) and 'loss' in outputs else ''
        runner.logger.info(f'Iteration {runner.iter + 1} of {runner.max_iters}{loss}.')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        """Say how far a validation is."""
        if self._is_silent(runner):
            runner.logger.info(f'Validating: batch {batch_idx + 1} of {len(runner.val_dataloader)}.')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Say how far a test is."""
        if self._is_silent(runner):
            runner.logger.info(f'Testing: batch {batch_idx + 1} of {len(runner.test_dataloader)}.')

    def after_train_epoch(self, runner: Runner) -> None:
        """Forget old figures: mmengine copies all of them at every step, and writes them to every checkpoint."""
        scalars = runner.message_hub.log_scalars
        for name in [name for name in scalars if name.startswith('train/')]:
            values, counts = scalars[name].data
            scalars[name] = HistoryBuffer(values[-_WINDOW:], counts[-_WINDOW:])

    @staticmethod
    def _heard(runner: Runner) -> None:
        if console := getattr(runner, 'console', None):
            console.last = time.monotonic()

    @staticmethod
    def _is_silent(runner: Runner) -> bool:
        console = getattr(runner, 'console', None)
        return console is not None and time.monotonic() - console.last >= _SILENCE

    @staticmethod
    def _interval(runner: Runner) -> int:
        """After how many iterations mmengine's own log has a line."""
        return next((hook.interval for hook in runner.hooks if type(hook).__name__ == 'LoggerHook'), 0)


def log_file_of(runner: Runner) -> str:
    """Where a run's log is written."""
    return runner.logger.log_file if isinstance(runner.logger, MMLogger) else runner.log_dir
