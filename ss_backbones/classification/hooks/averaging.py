"""An average of the weights, validated beside the weights themselves."""

from collections.abc import MutableMapping

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class AveragedWeightsHook(EMAHook):
    """mmengine's EMAHook, which validates the average alone; this one validates the raw weights as well.

    Metrics of the average keep their names, as the average is what a checkpoint's ``state_dict`` holds; those of the
    raw weights begin with 'raw_'. Arguments are those of mmengine's EMAHook, such as ``momentum`` (1 minus the decay).
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        """Take new weights into the average: with gradient accumulation there are none after most steps."""
        if runner.optim_wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_val_epoch(self, runner: Runner, metrics: MutableMapping[str, float] | None = None) -> None:
        """Give the model its raw weights back, and validate them."""
        super().after_val_epoch(runner, metrics)
        loop = runner.val_loop
        with torch.no_grad():
            for batch in loop.dataloader:
                loop.evaluator.process(data_samples=runner.model.val_step(batch), data_batch=batch)
        for name, value in loop.evaluator.evaluate(len(loop.dataloader.dataset)).items():
            metrics[f'raw_{name}'] = value
            runner.message_hub.update_scalar(f'val/raw_{name}', value)
