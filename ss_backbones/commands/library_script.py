"""The train.py and test.py of mmdet and mmsegmentation: found, asked for their options without being run, and run."""

import ast
import runpy
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from ..environment import how_to_install
from ..errors import UsageError
from .parsing import Parser, add_config_options, config_options

_LIBRARIES = {'mmdet': 'mmdet==3.3.0', 'mmseg': 'mmsegmentation==1.2.2'}  # what to install


def run_script(tool: str, argv: Sequence[str], program: str) -> None:
    """Run a library's script as if it had been called with the same arguments, after a look at them.

    Args:
        tool: Which script, 'train' or 'test'.
        argv: The arguments.
        program: What the user called.

    Raises:
        UserError: What is wrong with them, as far as it shows.
    """
    parser = _parser(tool, program)
    if {'-h', '--help'} & set(argv):
        print(parser.format_usage() + '\n' + '\n'.join(_options_of(library, tool) for library in _LIBRARIES))
        return
    argv = _config_first(argv)
    arguments = parser.parse_known_args(argv)[0]

    from .. import register

    register()
    from ..openmmlab.configs import find_config
    from ..openmmlab.launch import check_launch

    options = config_options(arguments.cfg_options)
    words = vars(arguments)
    library = check_launch(tool, arguments.config, options, words.get('checkpoint'), words.get('resume'))
    script = str(_script(library, tool))
    # the library's parser knows no LIBRARY::NAME
    at = argv.index(arguments.config)
    sys.argv = [script, *argv[:at], find_config(arguments.config), *argv[at + 1 :]]
    runpy.run_path(script, run_name='__main__')


def _parser(tool: str, program: str) -> Parser:
    """For the few arguments that are needed here; to find them, options that take values must be known."""
    positional = 'CONFIG CHECKPOINT' if tool == 'test' else 'CONFIG'
    usage = f"{program} {positional} [any argument of the library's {tool}.py]"
    parser = Parser(program, '', usage=usage, add_help=False, allow_abbrev=True)
    parser.add_argument('config', metavar='CONFIG')
    if tool == 'test':
        parser.add_argument('checkpoint', metavar='CHECKPOINT')
        parser.add_argument('--show', action='store_true')  # or it would pass for a short --show-dir
    else:
        parser.add_argument('--resume', nargs='?', const='auto')
    add_config_options(parser)
    for option in ('--work-dir', '--launcher', '--local_rank', '--local-rank', '--out', '--show-dir', '--wait-time'):
        parser.add_argument(option)
    return parser


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
    return how_to_install(_LIBRARIES[library])


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
