"""A checkpoint when a cluster wants its machines back."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again. tools/slurm_train.sh requeues the job on it
FILE = 'preempted.pth'


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM or SIGUSR1 finishes the step, writes ``preempted.pth`` and leaves with exit code 75.

    It is enough that one process of several gets the signal. ``ss-backbones pretrain --resume`` goes on from there, in
    the middle of the epoch. With gradient accumulation the checkpoint waits for the next update of the weights.
    """

    priority = 'LOWEST'  # after the hooks that log, average and step the schedule

    def __init__(self) -> None:
        self._signal = 0
        self._before: dict[int, object] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen from now on."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            self._before[number] = signal.signal(number, self._note)

    def after_train(self, runner: Runner) -> None:
        """Leave the signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Write and leave, if any process was told to.

        Raises:
            SystemExit: With code 75, after the checkpoint is written.
        """
        if not runner.optim_wrapper.should_update():  # then there are gradients, which a checkpoint does not hold
            return
        told = torch.tensor(self._signal)
        all_reduce(told, 'max')
        if not told:
            return
        name = signal.Signals(int(told)).name
        # under another name first: a second, harder signal must not leave half a checkpoint
        runner.save_checkpoint(runner.work_dir, f'{FILE}.part', by_epoch=False)
        path = Path(runner.work_dir) / FILE
        if is_main_process():
            os.replace(f'{path}.part', path)
        barrier()
        runner.logger.warning(f'Stopped by {name} at iteration {runner.iter + 1}. --resume goes on from {path}.')
        sys.exit(EXIT_CODE)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
