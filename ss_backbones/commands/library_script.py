"""The train.py and test.py of mmdet and mmsegmentation: found, asked for their options without being run, and run."""

import ast
import runpy
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..environment import TESTED, how_to_install
from ..errors import UsageError
from .parsing import Parser, config_options

_OF_THE_SCRIPTS = ('--launcher', '--local_rank', '--local-rank', '--out', '--show-dir', '--wait-time')
_LIBRARIES = ('mmdet', 'mmseg')


def run_script(tool: str, argv: Sequence[str], program: str) -> None:
    """Run a library's script as if it had been called with the same arguments, after a look at them.

    The script gets what it knows, and by --cfg-options this package's Runner and what is told to that.

    Args:
        tool: Which script, 'train' or 'test'.
        argv: The arguments.
        program: What the user called.

    Raises:
        UserError: What is wrong with them, as far as it shows.
        KeyboardInterrupt: The user stopped it; with words for how to go on.
    """
    parser = _parser(tool, program)
    if {'-h', '--help'} & set(argv):
        print(parser.format_help())
        print('\n'.join(_options_of(library, tool) for library in _LIBRARIES))
        return
    argv = _config_first(argv)
    arguments, others = parser.parse_known_args(argv)

    from .. import register

    register()
    from ..openmmlab.configs import find_config
    from ..openmmlab.launch import check_launch
    from ..training.resume import how_to_go_on, newest_checkpoint

    options = config_options(arguments.cfg_options)
    words = vars(arguments)
    dry_run, resume = words.get('dry_run', False), words.get('resume')
    launch = check_launch(
        tool,
        arguments.config,
        options,
        checkpoint=words.get('checkpoint'),
        resume=resume,
        work_dir=arguments.work_dir,
        dry_run=dry_run,
        distributed=arguments.launcher not in (None, 'none'),
    )
    if launch.warning:
        sys.stderr.write(f'{program}: warning: {launch.warning}\n')
    script, work_dir = str(_script(launch.library, tool)), launch.work_dir
    pairs = [*arguments.cfg_options]
    if not launch.own_runner:
        pairs.append('runner_type=ss_backbones.Runner')
    if arguments.partial:
        pairs.append('partial=True')
    if words.get('on_bad_data'):
        pairs.append(f'on_bad_data={arguments.on_bad_data}')
    with TemporaryDirectory() if dry_run else nullcontext(work_dir) as place:
        if dry_run:
            pairs.append('dry_run=True')
        if dry_run and resume == 'auto':  # there is nothing in the work dir of a dry run
            newest = newest_checkpoint(work_dir)
            words['resume'] = newest and (newest.path if launch.library == 'mmdet' else 'auto')
            pairs += [f'load_from={newest.path}'] if newest else []
        sys.argv = [script, find_config(arguments.config), *_passed_on(words, others)]
        sys.argv += ['--work-dir', place] if place else []
        sys.argv += ['--cfg-options', *pairs] if pairs else []  # of several the libraries read the last
        try:
            runpy.run_path(script, run_name='__main__')
        except KeyboardInterrupt:
            raise KeyboardInterrupt('' if dry_run or tool == 'test' else how_to_go_on(work_dir)) from None


def _parser(tool: str, program: str) -> Parser:
    """For the few arguments that are needed here; to find them, options that take values must be known."""
    positional = 'CONFIG CHECKPOINT' if tool == 'test' else 'CONFIG'
    usage = f"{program} {positional} [options] [any argument of the library's {tool}.py]"
    parser = Parser(program, '', usage=usage, add_help=False, allow_abbrev=True)
    parser.add_argument('config', metavar='CONFIG', help='a file, or LIBRARY::NAME')
    parser.add_argument('--partial', action='store_true', help='take what fits of a checkpoint of another model')
    if tool == 'test':
        parser.add_argument('checkpoint', metavar='CHECKPOINT', help='the weights that are tested')
        parser.add_argument('--show', action='store_true', help=SUPPRESS)  # or it would pass for a short --show-dir
    else:
        parser.add_argument('--dry-run', action='store_true', help='build everything, make one step, write nothing')
        parser.add_argument(
            '--on-bad-data', choices=('stop', 'skip'), help='skip: leave out what cannot be read (default: stop)'
        )
        parser.add_argument('--resume', nargs='?', const='auto', help=SUPPRESS)
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], help=SUPPRESS)
    for option in _OF_THE_SCRIPTS:
        parser.add_argument(option, help=SUPPRESS)
    parser.add_argument('--work-dir', help=SUPPRESS)
    return parser


def _passed_on(words: Mapping[str, Any], others: Sequence[str]) -> list[str]:
    """The arguments for a library's script, but for the config, its options and the work dir."""
    passed = [words['checkpoint']] if 'checkpoint' in words else []
    passed += ['--show'] if words.get('show') else []
    if resume := words.get('resume'):
        passed += ['--resume'] if resume == 'auto' else ['--resume', resume]
    for option in _OF_THE_SCRIPTS:
        if (value := words[option.strip('-').replace('-', '_')]) is not None:
            passed += [option, value]
    return [*passed, *others]


def _config_first(argv: Sequence[str]) -> list[str]:
    """Move a config that follows --resume to the front: mmseg's --resume takes no value, and mmdet's would take it."""
    for i, (option, value) in enumerate(pairwise(argv)):
        if option == '--resume' and value.endswith('.py'):
            return [value, *argv[: i + 1], *argv[i + 2 :]]
    return list(argv)


def _script(library: str, tool: str) -> Path:
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        raise UsageError(f'the config is for {library}, which is not installed. {_how_to_install(library)}')
    script = Path(spec.origin).parent / '.mim' / 'tools' / f'{tool}.py'
    if not script.is_file():
        raise UsageError(
            f'the installed {library} has no {script}; wheels bring it, some source installs do not. '
            f'{_how_to_install(library)}'
        )
    return script


def _how_to_install(library: str) -> str:
    return how_to_install(TESTED[library])


def _options_of(library: str, tool: str) -> str:
    """The help for a script's options, read in its source: to run it would import torch and the library."""
    try:
        script = _script(library, tool)
    except UsageError as error:
        return f'options with a config of {library}:\n  {error}\n'
    parser = ArgumentParser(usage=SUPPRESS, add_help=False)
    group = parser.add_argument_group(f'options with a config of {library}')
    for call in ast.walk(ast.parse(script.read_text(encoding='utf-8'))):
        if not isinstance(call, ast.Call) or getattr(call.func, 'attr', '') != 'add_argument':
            continue
        names = [_literal(name) for name in call.args]
        words = {word.arg: value for word in call.keywords if (value := _literal(word.value)) is not None}
        if names and all(isinstance(name, str) and name.startswith('-') for name in names):
            group.add_argument(*names, **{key: value for key, value in words.items() if key != 'default'})
    return parser.format_help()


def _literal(node: ast.expr) -> object:
    """What stands there, or None for a name, such as that of a type or an action, which no help shows."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
