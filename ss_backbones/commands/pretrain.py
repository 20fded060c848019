"""Trains a classifier; the logic of tools/pretrain.py."""

from argparse import Namespace
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from ..networks.arguments import check_count
from ..openmmlab.command_line import UsageError
from ..classification.building import build_runner
from ..classification.folders import find_split
from ..classification.launch import make_parser, run
from ..classification.recipe import fit_schedule, scale_learning_rate
from ..classification.resume import check_network, checkpoints_in, newest_checkpoint

ADVICE = (
    'To train without validation: --no-validate. To validate on another split: --cfg-options '
    'val_dataloader.dataset.split=NAME'
)
DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Raises:
        SystemExit: With code 2 after a message on stderr; with 75 after a checkpoint, where a signal asked for it.
    """
    parser = make_parser('Train an image classifier, on ImageNet or on folders of images.')
    parser.add_argument('--amp', choices=DTYPES, help='mixed precision, on a GPU')
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint in the work dir')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    run(parser, _train, 'pretrain', argv)


def _train(arguments: Namespace, config: Config) -> None:
    if arguments.no_validate:
        config.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
        config.default_hooks.checkpoint.save_best = None
    # only trained here; tools/evaluate.py tests
    config.update(test_dataloader=None, test_cfg=None, test_evaluator=None)
    if arguments.amp:
        _use_amp(config, arguments.amp)
    _check_numbers(config)
    fit_schedule(config)
    text = scale_learning_rate(config, get_world_size())
    for loader in filter(None, (config.train_dataloader, config.val_dataloader)):
        if not loader.dataset.get('name'):
            find_split(loader.dataset.data_root, loader.dataset.split, ADVICE)  # before anything is built
    _set_resume(config, arguments.resume)
    runner = build_runner(config)
    if config.get('resume'):
        check_network(getattr(runner.model, 'module', runner.model), config.load_from)
        text = f'Learning rate and schedule go on as they were in {config.load_from}.'
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


def _set_resume(config: Config, resume: bool) -> None:
    if resume:
        newest = newest_checkpoint(config.work_dir)
        config.resume = newest is not None
        config.load_from = newest or config.get('load_from')  # the first start of many begins as the config says
        return
    there = checkpoints_in(config.work_dir)
    if there:
        raise UsageError(
            f'{config.work_dir} has checkpoints of an earlier run ({there[0].name}). Go on from there with --resume, '
            'or take another place with --work-dir DIR.'
        )
