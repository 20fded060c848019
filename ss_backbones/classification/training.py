"""Trains a classifier."""

from contextlib import nullcontext
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from ..errors import UsageError
from ..networks.arguments import check_count
from ..training.resume import check_unused, newest_checkpoint
from .building import build_runner
from .folders import find_split
from .recipe import fit_schedule, scale_learning_rate

ADVICE = (
    'To train without validation: --no-validate. To validate on another split: --cfg-options '
    'val_dataloader.dataset.split=NAME'
)
DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}


def train(config: Config, *, amp: str | None, resume: bool, validate: bool, dry_run: bool = False) -> None:
    """Train a classifier.

    Args:
        config: Its config, which is changed.
        amp: One of DTYPES for mixed precision; None for none.
        resume: Go on from the newest checkpoint in the work dir, if there is one.
        validate: Validate after epochs.
        dry_run: Build everything, make one step, and write nothing.

    Raises:
        UsageError: The config, or what is asked for beside it, cannot work.
        DataError: The data cannot be used.
        CheckpointError: A checkpoint cannot be gone on from.
        SystemExit: With code 75 after a checkpoint, where a signal asked for it.
    """
    if not validate:
        config.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
        config.default_hooks.checkpoint.save_best = None
    # only trained here; ss-backbones evaluate tests
    config.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    if amp:
        _use_amp(config, amp)
    _check_numbers(config)
    fit_schedule(config)
    text = scale_learning_rate(config, get_world_size())
    for loader in filter(None, (config.train_dataloader, config.val_dataloader)):
        if not loader.dataset.get('name'):
            find_split(loader.dataset.data_root, loader.dataset.split, ADVICE)  # before anything is built
    if resume or not dry_run:
        set_resume(config, resume)
    if config.get('resume'):
        text = f'Learning rate and schedule go on as they were in {config.load_from}.'
    with TemporaryDirectory() if dry_run else nullcontext(config.work_dir) as place:
        config.update(work_dir=place, dry_run=dry_run)
        runner = build_runner(config)
        runner.console.preparing = False
        runner.logger.info(text)
        runner.train()


def _use_amp(config: Config, name: str) -> None:
    if not torch.cuda.is_available():
        raise UsageError(
            f'--amp {name} needs a GPU, and there is none here. On a CPU leave it out: training runs in float32.'
        )
    # bfloat16 has float32's range, so its gradients need no scaling
    scale = 'dynamic' if name == 'fp16' else 1.0
    config.optim_wrapper.update(type='AmpOptimWrapper', dtype=DTYPES[name], loss_scale=scale)


def _check_numbers(config: Config) -> None:
    loader = config.get('train_dataloader')
    if not loader or not config.get('train_cfg'):
        raise UsageError(
            f'{config.filename} needs train_dataloader and train_cfg, which say what is trained and how long.'
        )
    absent = [config.get(name) is None for name in ('val_dataloader', 'val_cfg', 'val_evaluator')]
    if any(absent) and not all(absent):
        raise UsageError('to train without validation, say --no-validate.')
    for name, value in (
        ('train_dataloader.batch_size', loader.get('batch_size')),
        ('train_cfg.max_epochs', config.train_cfg.get('max_epochs')),
        ('optim_wrapper.accumulative_counts', config.optim_wrapper.get('accumulative_counts', 1)),
    ):
        try:
            check_count(name, value)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if config.model.get('mixup') is None:
        return
    without = 'Or leave it out with --cfg-options model.mixup=None'
    if loader.batch_size % 2:
        raise UsageError(f'train_dataloader.batch_size={loader.batch_size} must be even: mixup mixes pairs. {without}')
    if not loader.get('drop_last'):
        raise UsageError(f'train_dataloader.drop_last must be True: mixup cannot mix the rest of an epoch. {without}')


def set_resume(config: Config, resume: bool) -> None:
    """Say in the config where the training begins; without ``resume`` nothing may be in the work dir.

    Raises:
        UsageError: There are checkpoints of an earlier run.
        CheckpointError: None of the checkpoints can be read.
    """
    if resume:
        newest = newest_checkpoint(config.work_dir)
        config.resume = newest is not None
        config.load_from = (
            newest.path if newest else config.get('load_from')
        )  # the first start of many begins as the config says
        return
    check_unused(config.work_dir)
