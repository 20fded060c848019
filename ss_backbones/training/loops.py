"""Training loops that can go on anywhere."""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from ..registry import LOOPS
from .resume import LENGTH
from .seeds import seed_of, seed_step

_RECIPE = 'recipe'  # where checkpoints hold what the learning rate is meant for, so that a change of it is seen


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch-based loop, which would begin anew an epoch that a checkpoint was written in the middle of.

    The batches of that epoch that were trained on are left out: without being read, where the sampler can skip
    (:class:`EpochSampler`), or by reading on. Gradients are not accumulated over an epoch's end, where a checkpoint is
    written, which does not hold them: the last update of an epoch has those of fewer batches where it must.
    """

    def run(self) -> nn.Module:
        """Train; whether a checkpoint fits is seen first, as hooks count iterations from the start."""
        self._check_position()
        self._check_recipe()
        return super().run()

    def run_epoch(self) -> None:
        """Train for what is left of the epoch."""
        length = len(self.dataloader)
        done = self._iter - self._epoch * length
        self.runner.message_hub.update_info(LENGTH, length)
        self.runner.optim_wrapper.initialize_count_status(self.runner.model, done, length)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(self._batches_after(done), start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _check_position(self) -> None:
        length = len(self.dataloader)
        if 0 <= self._iter - self._epoch * length <= length == self.runner.message_hub.get_info(LENGTH, length):
            return
        print_log(
            f'The checkpoint stands at iteration {self._iter}, epoch {self._epoch}; an epoch has {length} iterations '
            'now, and had not then: the batch size, the number of processes or the data have changed. The epoch begins '
            'anew, and iterations are counted as if all epochs had been like this one.',
            logger='current',
            level=logging.WARNING,
        )
        self._iter = self._epoch * length

    def _check_recipe(self) -> None:
        accumulated = self.runner.cfg.get('optim_wrapper', {}).get('accumulative_counts', 1)
        batch = _batch_size(self.dataloader)
        if batch is None:
            return
        images = batch * get_world_size() * accumulated
        now = {'images an update': images, 'epochs': self.max_epochs}
        before = self.runner.message_hub.get_info(_RECIPE, now)
        changed = [f'{now[name]} {name} in place of {before[name]}' for name in now if now[name] != before[name]]
        if changed:
            print_log(
                f'This run has {" and ".join(changed)}, but its learning rate and schedule go on as they were in the '
                'checkpoint. For others begin a new run from its weights: --work-dir DIR --cfg-options load_from=FILE',
                logger='current',
                level=logging.WARNING,
            )
        self.runner.message_hub.update_info(_RECIPE, now)

    def _batches_after(self, done: int) -> Iterator[Any]:
        if not hasattr(self.dataloader.sampler, 'start'):
            batches = SeededBatches(iter(self.dataloader), self.runner.seed, self._epoch)
            return islice(batches, done, None)
        self.dataloader.sampler.start = done * self.dataloader.batch_size
        return iter(self.dataloader)


@LOOPS.register_module()
class IterLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop with a seed for every batch; see :class:`SeededBatches`.

    The arguments are those of mmengine's IterBasedTrainLoop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, max_iters: int, **options: Any) -> None:
        super().__init__(runner, dataloader, max_iters, **options)
        self.dataloader_iterator = SeededBatches(self.dataloader_iterator, runner.seed)


class SeededBatches(Iterator[Any]):
    """The same batches, each drawn after seeding by its place, where this process draws what augments it.

    Args:
        batches: They.
        seed: The run's.
        epoch: In which they are, as each has batches of its own.
    """

    def __init__(self, batches: Iterator[Any], seed: int, epoch: int = 0) -> None:
        self._batches, self._seed, self._epoch, self._place = batches, seed, epoch, 0

    def __next__(self) -> Any:
        """The next one."""
        seed_step(seed_of(self._seed, self._epoch, self._place, get_rank()))
        self._place += 1
        return next(self._batches)

    def skip_iter(self, count: int) -> None:
        """Leave so many out, as the loop of the maintained fork of mmengine asks for."""
        self._batches.skip_iter(count)
        self._place += count


def _batch_size(loader: DataLoader) -> int | None:
    """mmdet's batches of images of like shape come from a batch sampler, and then the loader itself has no size."""
    return loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
