"""Compares the classes of the data with those of the network."""

from collections.abc import Mapping
from functools import partial

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import Dataset, IterableDataset

from ...registry import HOOKS
from ..errors import DataError, check_class


@HOOKS.register_module()
class ClassesHook(Hook):
    """Stops a run whose data have other classes than the head, or whose validation has others than its training.

    Readers that do not know their classes have every image's looked at as it is read.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare.

        Raises:
            DataError: They differ.
        """
        found = self._compare(runner, runner.train_dataloader.dataset, 'training')
        if runner.val_loop is not None:
            theirs = self._compare(runner, runner.val_dataloader.dataset, 'validation')
            if found and theirs and found != theirs:
                odd = sorted(found.keys() ^ theirs.keys(), key=str)
                raise DataError(
                    f'training and validation have other classes: {", ".join(map(str, odd[:5]))} '
                    f'{"is" if len(odd) == 1 else "are"} in one of them alone. Classes are numbered by their folders, '
                    'so both need the same.'
                )

    def before_test(self, runner: Runner) -> None:
        """Compare.

        Raises:
            DataError: They differ.
        """
        self._compare(runner, runner.test_dataloader.dataset, 'test')

    def _compare(self, runner: Runner, dataset: Dataset, what: str) -> Mapping[str, int] | None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.backbone.num_classes
        classes = getattr(dataset, 'class_to_idx', None)
        if classes and len(classes) != head:
            raise DataError(
                f'the {what} data have {len(classes)} classes ({", ".join(map(str, list(classes)[:3]))}, ...), the '
                f'head has {head}. Take other data, or --cfg-options model.backbone.num_classes={len(classes)}'
            )
        if isinstance(dataset, IterableDataset):  # a stream of timm's
            dataset.target_transform = partial(check_class, classes=head, name=f'an image of the {what} data')
        else:
            dataset.num_classes = head
        return classes
