"""Seeds every epoch and every step."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS
from ..seeds import seed_of, seed_step


@HOOKS.register_module()
class RandomnessHook(Hook):
    """Seeds every training step from the run's seed, the step and the process, and every epoch's order.

    With :class:`EpochLoop` and :class:`IterLoop`, which seed what is drawn for a batch, a resumed run equals an
    uninterrupted one where the data are read in the process itself; with :class:`EpochSampler`, which seeds every
    image, also where workers read them.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the order of the images, and what worker processes draw."""
        loader = runner.train_dataloader
        sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed  # a resumed run has the seed of its checkpoint
        if hasattr(loader.dataset, 'set_epoch'):  # of streams
            loader.dataset.set_epoch(runner.epoch)
        seed_step(seed_of(runner.seed, runner.epoch, get_rank()))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Seed mixup, erasing and dropout."""
        seed_step(seed_of(runner.seed, runner.iter, get_rank()))
