"""Looks whether everything works, and says what to do where it does not."""

from collections import Counter
from collections.abc import Sequence

from .parsing import Parser, add_config_options, config_options

_DESCRIPTION = """Look at the packages, the machine, this package, and the model, weights and data of a config. A line
each says ok, warning or failed, and what to do. The exit code is 1 if something has failed. A report of a bug wants
what this prints.

  ss-backbones doctor
  ss-backbones doctor CONFIG --cfg-options model.backbone.init_cfg.checkpoint=weights.pth"""
_STYLES = {'ok': 'green', 'warning': 'yellow', 'failed': 'bold red'}


def main(argv: Sequence[str], program: str) -> int:
    """0, or 1 if something has failed.

    Raises:
        UserError: The command line is wrong.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('config', metavar='CONFIG', nargs='?', help='of mmdet or mmseg: a file, or LIBRARY::NAME')
    add_config_options(parser)
    arguments = parser.parse_args(argv)
    if arguments.cfg_options and not arguments.config:
        parser.error('--cfg-options needs a CONFIG')

    from rich.console import Console

    from ..doctor import Check, Finding, config_checks, examine, machine_checks, own_checks, package_checks

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    levels: Counter[str] = Counter()

    def show(part: Check | Finding) -> None:
        finding = examine(part) if isinstance(part, Check) else part
        level, (first, *more) = finding.level.value, finding.text.splitlines() or ['']
        levels[level] += 1
        console.print(f'{level:8}', style=_STYLES[level], end='')
        console.print(f'{finding.name:16} {first}')
        for line in more:
            console.print(f'{"":24} {line}')
        if finding.cure:
            console.print(f'{"":8}{"cure:":>16} {finding.cure}')

    for part in (*package_checks(), *machine_checks(), *own_checks()):
        show(part)
    if arguments.config:
        for part in config_checks(arguments.config, config_options(arguments.cfg_options)):
            show(part)
    others = [f'{levels[level]} {level}' for level in ('failed', 'warning') if levels[level]]
    console.print(f'{levels.total()} checks: ' + (', '.join(others) or 'all is right') + '.')
    return int(levels['failed'] > 0)
