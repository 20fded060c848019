"""The validation that a stopped run did not come to."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates first, where a run is resumed between an epoch's end and its validation.

    mmengine writes an epoch's checkpoint before the validation and would go on with the next epoch, so that this one
    could never be the best. What has been validated is known from :class:`SummaryHook`.
    """

    priority = 'LOWEST'  # after CheckpointHook is ready for a best checkpoint

    def before_train(self, runner: Runner) -> None:
        """Validate, if the last epoch has no accuracy yet."""
        loop, epoch = runner.train_loop, runner.epoch
        ended = epoch > 0 and runner.iter == epoch * len(loop.dataloader)
        if not ended or runner.val_loop is None or epoch in runner.message_hub.get_info('accuracies', {}):
            return
        if epoch >= loop.val_begin and (epoch % loop.val_interval == 0 or epoch == loop.max_epochs):
            runner.val_loop.run()
