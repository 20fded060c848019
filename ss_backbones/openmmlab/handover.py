"""Hands a command line over to the train.py or test.py that comes with the installed mmdet or mmsegmentation.

Before that, whatever can be seen to be wrong is said in one plain message: the config, the library, the checkpoint,
the data. Everything else, the meaning of every argument too, is the library's own script.
"""

import argparse
import os.path as osp
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NoReturn
from zipfile import is_zipfile

from mmengine.config import Config, DictAction

from ..checkpoint_files import CheckpointError, read_checkpoint
from .data_check import describe_missing, find_missing
from .model_check import find_misfit

# default_scope: what to install
LIBRARIES = {'mmdet': 'mmdet==3.3.0', 'mmseg': 'mmsegmentation==1.2.2'}
CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')
EXPECTED = {
    'train': "tools/train.py CONFIG [any argument of the library's train.py]",
    'test': "tools/test.py CONFIG CHECKPOINT [any argument of the library's test.py]",
}


class HandoverError(Exception):
    """The command line cannot work; the text says what was given, what was expected and what to do."""


def main(tool: str, argv: Sequence[str] | None = None) -> None:
    """Runs the library's script ``tool`` ('train' or 'test') as if it had been called with ``argv``.

    Args:
        tool: Which script.
        argv: The arguments after the script's name; None takes them from sys.argv.

    Raises:
        SystemExit: With code 2 after a message on stderr; or whatever the library's script exits with.
    """
    argv = _config_first(sys.argv[1:] if argv is None else argv)
    try:
        script = _check(tool, argv)
        sys.argv = [script, *argv]
        runpy.run_path(script, run_name='__main__')
    except (HandoverError, CheckpointError) as error:  # the weights of init_cfg are read when the model is there
        print(f'tools/{tool}.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None


def _check(tool: str, argv: list[str]) -> str:
    """Returns the path of the script that the arguments are for."""
    if {'-h', '--help'} & set(argv):
        return _script_for_help(tool, argv)
    arguments = _parse(tool, argv)
    config = _load(arguments.config, arguments.cfg_options)
    scope = config.get('default_scope')
    if scope not in LIBRARIES:
        given = f'sets default_scope = {scope!r}' if scope else 'sets no default_scope'
        raise HandoverError(
            f'{arguments.config} {given}, expected {" or ".join(map(repr, LIBRARIES))}. It says what library it '
            'is for: inherit from a config of that library, or set default_scope.'
        )
    script = _script(scope, tool)
    if tool == 'test':
        _check_checkpoint(arguments.checkpoint, 'as the second argument')
    elif scope == 'mmdet' and arguments.resume not in (None, 'auto'):
        _check_checkpoint(arguments.resume, 'after --resume')
    misfit = find_misfit(config, tool)
    if misfit:
        raise HandoverError(f'{arguments.config}: {misfit}')
    missing = find_missing(config, tool)
    if missing:
        raise HandoverError(describe_missing(missing, arguments.config))
    return script


def _config_first(argv: Sequence[str]) -> list[str]:
    """Moves a config that follows --resume to the front: mmseg's --resume takes no value, and mmdet's would take it."""
    for i, (option, value) in enumerate(pairwise(argv)):
        if option == '--resume' and value.endswith(CONFIG_SUFFIXES):
            return [value, *argv[: i + 1], *argv[i + 2 :]]
    return list(argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise HandoverError(f'{message}.\nExpected: {self.usage}')


def _parse(tool: str, argv: list[str]) -> argparse.Namespace:
    """Finds the few arguments that are needed here; the options that take values must be known to find them."""
    parser = _Parser(usage=EXPECTED[tool], add_help=False)
    parser.add_argument('config', metavar='CONFIG')
    if tool == 'test':
        parser.add_argument('checkpoint', metavar='CHECKPOINT')
        parser.add_argument('--show', action='store_true')  # or it would pass for a short --show-dir
    else:
        parser.add_argument('--resume', nargs='?', const='auto')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    for option in ('--work-dir', '--launcher', '--local_rank', '--local-rank', '--out', '--show-dir', '--wait-time'):
        parser.add_argument(option)
    try:
        return parser.parse_known_args(argv)[0]
    except (ValueError, AssertionError) as error:  # what DictAction raises
        raise HandoverError(f'--cfg-options takes KEY=VALUE pairs without spaces in them: {error}') from error


def _load(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the config as the library will see it, without importing what it wants imported."""
    if not osp.exists(path):
        raise HandoverError(f'there is no config file {path}. Configs are found in the folder configs/.')
    if osp.isdir(path) or not path.endswith(CONFIG_SUFFIXES):
        raise HandoverError(f'{path} is not a config, expected a Python file such as those in the folder configs/.')
    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except ModuleNotFoundError as error:  # a base such as mmdet::... without mmdet
        raise HandoverError(f'{path} needs a package that is missing: {error}. {_how_to_install()}') from error
    except Exception as error:  # a config is a program: it may fail in any way, and the user has to know where
        raise HandoverError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise HandoverError(f'--cfg-options does not fit {path}: {error.args[0]}') from error
    return config.to_dict()


def _check_checkpoint(path: str, where: str) -> None:
    if '://' in path:
        return
    if osp.isdir(path):
        raise HandoverError(f'{path} is a folder, expected a checkpoint file {where}, such as epoch_12.pth in it.')
    if not osp.exists(path):
        raise HandoverError(f'there is no checkpoint {path}, expected the file of a trained model {where}.')
    if not is_zipfile(path):  # torch writes zip files; whatever is none is damaged, or of an old torch and still fine
        read_checkpoint(path)


def _script(scope: str, tool: str) -> str:
    spec = find_spec(scope)
    if spec is None or spec.origin is None:
        raise HandoverError(f'the config is for {scope}, which is not installed. {_how_to_install(scope)}')
    script = osp.join(osp.dirname(spec.origin), '.mim', 'tools', f'{tool}.py')
    if not osp.isfile(script):
        raise HandoverError(
            f'the installed {scope} has no {script}; wheels bring it, some source installs do not. '
            f'{_how_to_install(scope)}'
        )
    return script


def _script_for_help(tool: str, argv: list[str]) -> str:
    """The help is the library's; without a config the first library that is there has to do."""
    try:
        config = _load(_parse(tool, [word for word in argv if word not in ('-h', '--help')]).config, {})
    except HandoverError:
        config = {}
    scopes = [config['default_scope']] if config.get('default_scope') in LIBRARIES else list(LIBRARIES)
    installed = [scope for scope in scopes if find_spec(scope)]
    print(f'usage: {EXPECTED[tool]}\nThe arguments below are those of {(installed or scopes)[0]}.\n')
    return _script((installed or scopes)[0], tool)


def _how_to_install(scope: str | None = None) -> str:
    what = LIBRARIES[scope] if scope else 'mmdet or mmsegmentation'
    return f'Install {what} as the README says, most simply with: make setup'
