"""What the command lines of all commands share."""

import argparse
import math
from collections.abc import Mapping, Sequence
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


def whole_number(text: str, of: str = '') -> int:
    """A word of the command line as a whole number (of something) from 1 on.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} must be a whole number{of}, at least 1')
    return int(text)


def pixels(text: str) -> int:
    """See :func:`whole_number`."""
    return whole_number(text, ' of pixels')


def above_zero(text: str) -> float:
    """A word of the command line as a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not 0 < (number := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} must be a number above 0')
    return number


def share_of_macs(text: str) -> float:
    """A word of the command line as a share of a network's multiply-adds.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not 0 < (number := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number above 0 and at most 1, a share of the network's multiply-adds, such as 0.75"
        )
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_score_thr(value: float) -> None:
    """--score-thr of the pictures of detections.

    Raises:
        UsageError: No score is in its range.
    """
    if not 0 <= value <= 1:
        raise UsageError(f'--score-thr is the lowest score that is drawn, from 0 to 1, not {value:g}.')


def classifier_parser(
    program: str,
    description: str,
    *,
    config: str = 'a config such as those in configs/imagenet/',
    work_dir: str = 'work_dirs/CONFIG',
) -> Parser:
    """A parser with the arguments that training and evaluating a classifier share; see :func:`launch_classifier`."""
    parser = Parser(program, description)
    parser.add_argument('config', metavar='CONFIG', help=config)
    parser.add_argument('--data-root', metavar='DIR', help='holds train/ and val/ with a folder for each class')
    parser.add_argument(
        '--dataset', metavar='NAME', help="timm's name of other kinds of data: wds/, hfds/NAME, torch/NAME, ..."
    )
    parser.add_argument('--work-dir', metavar='DIR', help=f'for logs and checkpoints (default: {work_dir})')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='(default: none)')
    add_config_options(parser)
    return parser


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """What :func:`train_classifier` is asked beside the arguments of :func:`classifier_parser`."""
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='mixed precision of a classifier, on a GPU')
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint in the work dir')
    parser.add_argument('--no-validate', action='store_true', help='train a classifier without validation')
    parser.add_argument('--dry-run', action='store_true', help='build everything, make one step, write nothing')


def train_classifier(arguments: argparse.Namespace, changes: Mapping[str, Any] | None = None) -> bool:
    """Train a classifier as the command line says.

    Args:
        arguments: Of :func:`classifier_parser` and :func:`add_training_options`.
        changes: What the config gets besides.

    Returns:
        Whether this is the process that writes, which is not known any more after the processes have parted.

    Raises:
        KeyboardInterrupt: With words on how to go on.
    """
    work_dir = ''
    try:
        with launch_classifier(arguments) as config:
            from mmengine.dist import is_main_process

            from ..classification.training import train

            work_dir = config.work_dir
            config.update(changes or {})
            train(
                config,
                amp=arguments.amp,
                resume=arguments.resume,
                validate=not arguments.no_validate,
                dry_run=arguments.dry_run,
            )
            return is_main_process()
    except KeyboardInterrupt:
        from ..training.resume import how_to_go_on

        raise KeyboardInterrupt(how_to_go_on(work_dir) if work_dir and not arguments.dry_run else '') from None


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
