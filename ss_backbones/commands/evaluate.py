"""Evaluates a classifier's checkpoint; the logic of tools/evaluate.py."""

from argparse import Namespace
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.dist import is_main_process

from ..checkpoints.files import read_checkpoint
from ..checkpoints.loading import HEAD, load_weights
from ..openmmlab.command_line import UsageError
from ..classification.building import build_runner
from ..classification.folders import find_split
from ..classification.launch import make_parser, run


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says, and print the accuracies.

    Raises:
        SystemExit: With code 2 after a message on stderr.
    """
    parser = make_parser('Evaluate a checkpoint of an image classifier.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='of any layout that ss_backbones reads')
    parser.add_argument('--split', metavar='NAME', help='which part of the data (default: the config says, val)')
    parser.add_argument('--raw', action='store_true', help='the raw weights, where the checkpoint has an average too')
    run(parser, _evaluate, 'evaluate', argv)


def _evaluate(arguments: Namespace, config: Config) -> None:
    loader = config.get('test_dataloader')
    if not loader:
        raise UsageError(f'{arguments.config} has no test_dataloader, which says what is evaluated.')
    if arguments.split:
        loader.dataset.split = arguments.split
    if not loader.dataset.get('name'):
        find_split(loader.dataset.data_root, loader.dataset.split, 'Another part: --split NAME')
    nothing = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr')
    config.update(dict.fromkeys((*nothing, 'val_dataloader', 'val_cfg', 'val_evaluator')))
    config.custom_hooks = [dict(type='ss_backbones.ClassesHook')]
    config.model.update(init_cfg=None, teacher=None)  # neither is needed for an evaluation
    read_checkpoint(arguments.checkpoint)  # for its words, before anything is built
    runner = build_runner(config)
    network = getattr(runner.model, 'module', runner.model).backbone
    report = load_weights(network, arguments.checkpoint, use_ema=not arguments.raw)
    lacking = report.missing + report.wrong_shape
    if lacking:
        what = 'no head for these classes' if all(key.startswith(HEAD) for key in lacking) else 'not all weights'
        raise UsageError(f'{arguments.checkpoint} has {what}, so there is nothing to evaluate.\n{report}')
    runner.logger.info(str(report))
    metrics = runner.test()
    if is_main_process():
        print('  '.join(f'{name} {value:.3f}' for name, value in metrics.items()))
