"""Trains a classifier; the logic of tools/pretrain.py."""

from argparse import Namespace
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..openmmlab.command_line import UsageError
from .folders import find_split
from .launch import make_parser, run
from .recipe import fit_schedule, scale_learning_rate
from .resume import checkpoints_in, newest_checkpoint

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
    _check_batch(config)
    fit_schedule(config)
    text = scale_learning_rate(config, get_world_size())
    for loader in filter(None, (config.train_dataloader, config.val_dataloader)):
        if not loader.dataset.get('name'):
            find_split(loader.dataset.data_root, loader.dataset.split)  # before anything is built
    _set_resume(config, arguments.resume)
    runner = build_runner(config)
    runner.logger.info(text)
    runner.train()


def build_runner(config: Config) -> Runner:
    """mmengine's Runner for a config, with model and optimiser built.

    Raises:
        UsageError: An argument of theirs is none, or out of its range.
    """
    try:
        runner = Runner.from_cfg(config)
        if runner.optim_wrapper is not None:
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    except (TypeError, ValueError) as error:  # mmengine puts the class's name before what it raises
        raise UsageError(f'{config.filename}: {error}') from error
    return runner


def _use_amp(config: Config, name: str) -> None:
    if not torch.cuda.is_available():
        raise UsageError(
            f'--amp {name} needs a GPU, and there is none here. On a CPU leave it out: training runs in float32.'
        )
    # bfloat16 has float32's range, so its gradients need no scaling
    scale = 'dynamic' if name == 'fp16' else 1.0
    config.optim_wrapper.update(type='AmpOptimWrapper', dtype=DTYPES[name], loss_scale=scale)


def _check_batch(config: Config) -> None:
    batch = config.train_dataloader.batch_size
    if config.model.get('mixup') is not None and batch % 2:
        raise UsageError(
            f'train_dataloader.batch_size={batch} must be even: mixup mixes pairs. Or leave it out with --cfg-options '
            'model.mixup=None'
        )


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
