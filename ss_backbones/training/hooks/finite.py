"""Stops a training that has come to NaN or infinity."""

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ...checkpoints.values import in_words, not_finite
from ...errors import TrainingError
from ...registry import HOOKS
from ..resume import last_good

_PATIENCE = 3  # losses in a row; a single one may be a batch whose step was left out, as with mixed precision
_EVERY = 10  # iterations between two looks: each makes a GPU wait


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops within 10 iterations after the loss is not finite any more, and lets no such weights into a checkpoint.

    A loss that is not finite and leaves the weights as they are is passed over up to three times in a row.
    """

    priority = 'ABOVE_NORMAL'  # before the log and the checkpoints

    def before_train(self, runner: Runner) -> None:
        """Nothing has been seen yet."""
        self._in_a_row: Tensor | int = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: Mapping | None = None
    ) -> None:
        """Look at the loss.

        Raises:
            TrainingError: It is not finite.
        """
        loss = outputs.get('loss') if isinstance(outputs, Mapping) else None
        if not isinstance(loss, Tensor):
            return
        self._in_a_row = torch.where(loss.detach().isfinite().all(), 0, self._in_a_row + 1)
        if loss.is_cuda and (runner.iter + 1) % _EVERY:
            return
        count = int(self._in_a_row)
        if not count:
            return
        broken = not_finite(_inside(runner.model).named_parameters())
        if broken or count >= _PATIENCE:
            where = _where(runner, broken) if broken else 'the weights are still finite'
            raise TrainingError(
                f'The loss has not been finite since iteration {runner.iter + 2 - count}: {where}. '
                f'{last_good(runner.work_dir)} {_ADVICE}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: Mapping[str, object]) -> None:
        """Look at the weights.

        Raises:
            TrainingError: They are not finite.
        """
        broken = not_finite(checkpoint['state_dict'].items())
        if broken:
            raise TrainingError(
                f'At iteration {runner.iter + 1} {_where(runner, broken)}, so no checkpoint is written. '
                f'{last_good(runner.work_dir)} {_ADVICE}'
            )


_ADVICE = (
    'Try a lower learning rate (optim_wrapper.optimizer.lr), a longer warm-up, clipping of gradients '
    '(optim_wrapper.clip_grad), or bfloat16 in place of float16.'
)


def _inside(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _where(runner: Runner, broken: list[str]) -> str:
    """Which weights, and the learning rate that they had."""
    text = in_words(broken)
    parameter = dict(_inside(runner.model).named_parameters()).get(broken[0])
    groups = getattr(runner.optim_wrapper, 'param_groups', [])
    rate = next((group['lr'] for group in groups if any(p is parameter for p in group['params'])), None)
    return text if rate is None else f'{text} (learning rate {rate:g})'
