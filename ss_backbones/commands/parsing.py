"""What the command lines of all commands share."""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config


class Parser(argparse.ArgumentParser):
    """Raises where argparse would exit, so that there is one way out for all that is wrong.

    Args:
        program: What the user called.
        description: What the command does; line breaks are kept.
        options: Others of argparse.ArgumentParser.
    """

    def __init__(self, program: str, description: str, **options: Any) -> None:
        options.setdefault('allow_abbrev', False)
        super().__init__(
            prog=program,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """See argparse.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f'{message}.\nExpected: {self.format_usage().removeprefix("usage: ").strip()}')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``; :func:`config_options` reads what it holds."""
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE', help='settings of the config'
    )


def config_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs as mmengine's own scripts read them.

    Raises:
        UsageError: One is no such pair.
    """
    if not pairs:
        return {}
    from mmengine.config import DictAction  # takes seconds

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    try:
        return parser.parse_args(['--cfg-options', *pairs]).cfg_options
    except (ValueError, AssertionError) as error:
        raise UsageError(f'--cfg-options takes KEY=VALUE pairs without spaces in them: {error}') from error


def check_score_thr(value: float) -> None:
    """--score-thr of the pictures of detections.

    Raises:
        UsageError: No score is in its range.
    """
    if not 0 <= value <= 1:
        raise UsageError(f'--score-thr is the lowest score that is drawn, from 0 to 1, not {value:g}.')


def classifier_parser(program: str, description: str) -> Parser:
    """A parser with the arguments that training and evaluating a classifier share; see :func:`launch_classifier`."""
    parser = Parser(program, description)
    parser.add_argument('config', metavar='CONFIG', help='a config such as those in configs/imagenet/')
    parser.add_argument('--data-root', metavar='DIR', help='holds train/ and val/ with a folder for each class')
    parser.add_argument(
        '--dataset', metavar='NAME', help="timm's name of other kinds of data: wds/, hfds/NAME, torch/NAME, ..."
    )
    parser.add_argument('--work-dir', metavar='DIR', help='for logs and checkpoints (default: work_dirs/CONFIG)')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='(default: none)')
    add_config_options(parser)
    return parser


def launch_classifier(arguments: argparse.Namespace) -> AbstractContextManager['Config']:
    """The config that the arguments of :func:`classifier_parser` make, among the processes that were launched."""
    from .. import register

    register()
    from ..classification.launch import launched

    return launched(
        arguments.config,
        config_options(arguments.cfg_options),
        data_root=arguments.data_root,
        dataset=arguments.dataset,
        work_dir=arguments.work_dir,
        launcher=arguments.launcher,
    )
