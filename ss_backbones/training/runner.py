"""mmengine's Runner, so that nothing is lost and little is on the screen."""

import math
import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from ..checkpoints.files import read_checkpoint, reason
from ..errors import CheckpointError, OutputError, UsageError
from ..registry import RUNNERS
from .console import Console
from .data_check import DataCheck
from .hooks import BadDataHook, CheckpointCheckHook, FiniteHook, PreemptionHook, ProgressHook, RandomnessHook
from .loops import EpochLoop, IterLoop
from .resume import last_good, newest_checkpoint, standing_of
from .work_dir_lock import lock

_LOOPS = {'EpochBasedTrainLoop': EpochLoop, 'IterBasedTrainLoop': IterLoop}
_HOOKS = (RandomnessHook, CheckpointCheckHook, FiniteHook, ProgressHook, BadDataHook, PreemptionHook)


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """mmengine's Runner with its loops and hooks made safe; ``runner_type='ss_backbones.Runner'`` in a config.

    - While it is prepared, the screen has warnings alone, and then a line of what will happen (:class:`ProgressHook`).
    - ``resume`` goes on from the newest checkpoint that can be read, with its seed; checkpoints are written under
      another name first.
    - mmengine's loops for epochs and iterations become :class:`EpochLoop` and :class:`IterLoop`.
    - A work dir that another process trains in is refused; a training that comes to NaN is stopped
      (:class:`FiniteHook`).
    - The data are looked at before a training (:class:`DataCheck`); an image that cannot be read is named.
    - Ctrl-C and SIGTERM save first (:class:`PreemptionHook`, :func:`start_worker`), randomness follows from where the
      run is (:class:`RandomnessHook`), and checkpoints of another model are refused (:class:`CheckpointCheckHook`).

    Beside mmengine's keys it reads these of its config: ``partial=True`` takes what fits of a checkpoint;
    ``dry_run=True`` builds everything, makes one step and ends; ``on_bad_data='skip'`` leaves out of the training what
    cannot be used, and ``data_check=dict(seconds=60, cache=DIR)`` bounds the look at the data.

    The arguments are those of mmengine's Runner.
    """

    # ---- while it is built

    def setup_env(self, env_cfg: dict) -> None:
        """Beside what mmengine does, find the checkpoint to go on from: its seed is needed for all that follows."""
        super().setup_env(env_cfg)
        if self._train_loop is not None and is_main_process():
            self._lock = lock(self.work_dir)
        self._resumed, path = None, self.cfg.get('load_from')
        if self.cfg.get('resume'):
            self._resumed = standing_of(read_checkpoint(path), path) if path else newest_checkpoint(self.work_dir)

    def set_randomness(self, seed: int | None = None, **options: bool) -> None:
        """Seed; a run that goes on without a seed in its config has the one that it began with."""
        if seed is None and self._resumed is not None:
            seed = self._resumed.seed
        super().set_randomness(seed, **options)

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **options: Any) -> MMLogger:
        """mmengine's logger; see :class:`Console` for what is on the screen."""
        logger = super().build_logger(log_level, log_file, **options)
        self.console = Console()
        self.console.attach(logger)
        return logger

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict] | None = None,
        custom_hooks: Sequence[Hook | dict] | None = None,
    ) -> None:
        """Register the config's hooks, and those that every run has."""
        super().register_hooks(default_hooks, custom_hooks)
        for cls in _HOOKS:
            if not any(isinstance(hook, cls) for hook in self._hooks):
                self.register_hook(cls())

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, this package's in place of mmengine's."""
        if isinstance(loop, dict):
            loop = dict(loop)
            kind = loop.get('type')
            if kind is None:
                kind = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
            name = kind if isinstance(kind, str) else f'{kind.__module__.partition(".")[0]}.{kind.__name__}'
            library, _, base = name.rpartition('.')
            loop['type'] = _LOOPS.get(base, kind) if library.partition('.')[0] in ('', 'mmengine') else kind
        return super().build_train_loop(loop)

    def build_dataloader(
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build it, with a look at its data before a training.

        Processes that read data begin with :func:`start_worker`, unless the config says otherwise.

        Raises:
            BadDataError: The data cannot be used.
        """
        if not isinstance(dataloader, dict):
            return super().build_dataloader(dataloader, seed, diff_rank_seed)
        check = DataCheck.of(self.cfg, self.work_dir, self._say, self.logger.warning)
        trains = self.optim_wrapper is not None
        parts = ((self._train_dataloader, 'the training data'), (self._val_dataloader, 'the validation data'))
        what = next((name for part, name in parts if part is dataloader), 'the data')
        if trains:
            check.before_building(dataloader.get('dataset'), what)
        workers = {'worker_init_fn': dict(type='ss_backbones.start_worker')}
        # their _scope_, which they have from a base config LIBRARY::NAME, mmengine would hand to them as an argument
        functions = {
            key: {name: value for name, value in dataloader[key].items() if name != '_scope_'}
            for key in ('collate_fn', 'worker_init_fn')
            if isinstance(dataloader.get(key), dict)
        }
        loader = super().build_dataloader({**workers, **dataloader, **functions}, seed, diff_rank_seed)
        check.after_building(loader.dataset, what, self.model, trains)
        return loader

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate where the config wants it, or say that it is for another batch."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        base = (auto_scale_lr or {}).get('base_batch_size')
        if base is None or auto_scale_lr.get('enable'):
            return
        batch, processes = self.cfg.train_dataloader.batch_size, get_world_size()
        steps = self.cfg.optim_wrapper.get('accumulative_counts', 1)
        images, rate = batch * processes * steps, self.cfg.optim_wrapper.optimizer.lr
        if images != base:
            self.logger.warning(
                f'The learning rate {rate:g} is for {base} images an update, and there are {images} ({processes} '
                f'processes x {batch} images x {steps} accumulated): {rate * images / base:g} would be in proportion. '
                f'For that: --cfg-options optim_wrapper.optimizer.lr={rate * images / base:g}'
                + (' (or --auto-scale-lr, with mmdetection)' if steps == 1 else '')
            )

    def build_parts(self) -> None:
        """Build what :meth:`train` and :meth:`test` would build by themselves, in their order, so that it may fail now.

        Raises:
            UsageError: The training data do not fill a batch.
        """
        if self.optim_wrapper is None:
            self._test_loop = self.build_test_loop(self._test_loop)
            return
        self._train_loop = self.build_train_loop(self._train_loop)
        loader = self.train_dataloader
        if not len(loader):
            raise UsageError(
                f'the {len(loader.dataset)} images of the training data do not fill a batch of '
                f'{self.cfg.train_dataloader.batch_size} in each of {get_world_size()} processes. Take a smaller one: '
                '--cfg-options train_dataloader.batch_size=N'
            )
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)

    # ---- while it runs

    def train(self) -> nn.Module:
        """Train, or make the one step of a dry run."""
        if self.cfg.get('dry_run'):
            return self._dry_run()
        return super().train()

    def load_or_resume(self) -> None:
        """Load what the config wants loaded; with ``resume`` from the newest checkpoint that can be read."""
        if self._resume and self._load_from is None:
            self._load_from = self._resumed and self._resumed.path
            self._resume = self._resumed is not None
            if not self._resume and not self._has_loaded:
                self.logger.warning(f'{self.work_dir} has no checkpoint to go on from: the training begins anew.')
        super().load_or_resume()

    def load_checkpoint(self, filename: str, *positional: Any, **options: Any) -> dict:
        """As mmengine's, with words for an address that cannot be reached.

        Raises:
            CheckpointError: It cannot.
        """
        with _downloads(filename):
            return super().load_checkpoint(filename, *positional, **options)

    def _init_model_weights(self) -> None:
        with _downloads("what the model's init_cfg names"):
            super()._init_model_weights()

    def resume(self, filename: str, *positional: Any, **options: Any) -> None:
        """As mmengine's, with words for the states of an optimizer or of schedules that are another config's.

        Raises:
            CheckpointError: They are.
        """
        try:
            super().resume(filename, *positional, **options)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f'{filename} fits the model, but its optimizer or its schedules do not fit those of the config '
                f'({type(error).__name__}: {reason(error)}). Take the config that it was trained with, or begin a new '
                f'run from its weights, without --resume: --work-dir DIR --cfg-options load_from={filename}'
            ) from error

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *positional: Any, **options: Any) -> None:
        """As mmengine's, but a file on a disk is written whole or not at all."""
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *positional, **options)
            return
        path = Path(out_dir) / filename
        try:
            super().save_checkpoint(out_dir, f'{filename}.part', *positional, **options)
            os.replace(f'{path}.part', path)
        except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of a full disk
            with suppress(OSError):
                os.unlink(f'{path}.part')
            raise OutputError(
                f'{path} cannot be written ({error}). {last_good(self.work_dir)} When that is mended: --resume'
            ) from error

    def _say(self, text: str) -> None:
        """Log a line that is on the screen even while the run is prepared."""
        before, self.console.preparing = self.console.preparing, False
        self.logger.info(text)
        self.console.preparing = before

    def _dry_run(self) -> nn.Module:
        """Build everything, make one step, and say what it took.

        Raises:
            UsageError: The loss is not finite.
        """
        self.build_parts()
        self.scale_lr(self.optim_wrapper, self.auto_scale_lr)
        self.call_hook('before_run')
        self._init_model_weights()
        self.load_or_resume()
        loop = self.train_loop
        self.optim_wrapper.initialize_count_status(self.model, loop.iter, loop.max_iters)
        self.model.train()
        batch = next(getattr(loop, 'dataloader_iterator', None) or iter(self.train_dataloader))
        start = time.perf_counter()
        losses = self.model.train_step(batch, optim_wrapper=self.optim_wrapper)
        loss = losses['loss'].item()
        seconds = time.perf_counter() - start
        if not math.isfinite(loss):
            raise UsageError(f'the loss of the first step is {loss}: nothing can be learnt from it.')
        if torch.cuda.is_available():
            memory, where = torch.cuda.max_memory_allocated() / 2**30, 'GPU memory'
        else:
            memory, where = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 'memory'
        rest = timedelta(seconds=round(seconds * (loop.max_iters - loop.iter)))
        self.logger.info(
            f'Dry run: everything was built. One step: loss {loss:.4g}, {seconds:.1f} s (the first is slow), '
            f'{memory:.1f} GiB of {where} at most. At this rate {loop.max_iters - loop.iter} iterations would take '
            f'{rest} (hours:minutes:seconds), without validation. Nothing was written.'
        )
        return self.model


@contextmanager
def _downloads(what: str) -> Iterator[None]:
    """Turn the errors of urllib, which mmengine downloads with, into words."""
    try:
        yield
    except URLError as error:
        raise CheckpointError(
            f'{what} cannot be downloaded ({reason(error)}). Copy it to this machine and give the path.'
        ) from error
