"""A checkpoint when a cluster wants its machines back, or a user has seen enough."""

import signal
import sys
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again. tools/slurm_train.sh requeues the job on it
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended
FILE = 'preempted.pth'
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM, SIGUSR1 or Ctrl-C finishes the step, writes ``preempted.pth`` and leaves.

    The exit code is 75, after Ctrl-C 130. It is enough that one process of several gets the signal. ``--resume`` goes
    on from there, in the middle of the epoch. With gradient accumulation the checkpoint waits for the next update of
    the weights. A second Ctrl-C, or one during a validation, stops at once.
    """

    priority = 'LOWEST'  # after the hooks that log, average and step the schedule

    def __init__(self) -> None:
        self._signal = 0
        self._before: dict[int, object] = {}
        self._validating = False
        self._runner: Runner | None = None

    def before_train(self, runner: Runner) -> None:
        """Listen from now on."""
        self._runner = runner
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)

    def after_train(self, runner: Runner) -> None:
        """Leave the signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def before_val_epoch(self, runner: Runner) -> None:
        """From here on there is nothing that a checkpoint does not have already."""
        self._validating = True

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """The training goes on."""
        self._validating = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Write and leave, if any process was told to.

        Raises:
            SystemExit: With code 75, or 130 after Ctrl-C, after the checkpoint is written.
        """
        if not runner.optim_wrapper.should_update():  # then there are gradients, which a checkpoint does not hold
            return
        told = torch.tensor(self._signal)
        all_reduce(told, 'max')
        if not told:
            return
        number = signal.Signals(int(told))
        runner.save_checkpoint(runner.work_dir, FILE, by_epoch=False)
        barrier()
        runner.logger.warning(
            f'Stopped by {number.name} at iteration {runner.iter + 1}. --resume goes on from '
            f'{Path(runner.work_dir) / FILE}.'
        )
        sys.exit(INTERRUPTED if number == signal.SIGINT else EXIT_CODE)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._validating or self._signal:
                raise KeyboardInterrupt
            sys.stderr.write('\nStopping after this step, with a checkpoint. Ctrl-C again stops at once.\n')
        self._signal = number
