"""Says at the end how many images were left out."""

from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...data_faults import guards_of
from ...registry import HOOKS


@HOOKS.register_module()
class BadDataHook(Hook):
    """Counts the images that ``on_bad_data='skip'`` has left out, over all processes."""

    def after_train(self, runner: Runner) -> None:
        """Say how many there were, if any."""
        left_out = total = 0
        for guard in guards_of(runner.train_dataloader.dataset):
            flags = guard.left_out.int()
            all_reduce(flags, 'max')
            left_out += int(flags.sum())
            total += len(flags)
        if left_out:
            runner.logger.warning(
                f'{left_out} of the {total} training images could not be used and were left out; each is named above.'
            )
