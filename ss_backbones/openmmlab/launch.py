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
from zipfile import is_zipfile

from mmengine.config import DictAction

from ..checkpoints.files import CheckpointError, read_checkpoint
from .command_line import BAD_OPTIONS, CONFIG_SUFFIXES, Parser, UsageError, explain_options, read_config
from .data_check import describe_missing, find_missing
from .model_check import find_misfit

# default_scope: what to install
LIBRARIES = {'mmdet': 'mmdet==3.3.0', 'mmseg': 'mmsegmentation==1.2.2'}
EXPECTED = {
    'train': "tools/train.py CONFIG [any argument of the library's train.py]",
    'test': "tools/test.py CONFIG CHECKPOINT [any argument of the library's test.py]",
}


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
    except (UsageError, CheckpointError) as error:  # the weights of init_cfg are read when the model is there
        print(f'tools/{tool}.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None


def _check(tool: str, argv: list[str]) -> str:
    """Returns the path of the script that the arguments are for."""
    if {'-h', '--help'} & set(argv):
        return _script_for_help(tool, argv)
    arguments = _parse(tool, argv)
    config = read_config(arguments.config, arguments.cfg_options).to_dict()
    scope = config.get('default_scope')
    if scope not in LIBRARIES:
        kind = str((config.get('model') or {}).get('type'))
        if kind.endswith('ImageClassifier'):
            raise UsageError(
                f'{arguments.config} is for a classifier ({kind}): take tools/pretrain.py to train it, and '
                'tools/evaluate.py to test it.'
            )
        given = f'sets default_scope = {scope!r}' if scope else 'sets no default_scope'
        raise UsageError(
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
        raise UsageError(f'{arguments.config}: {misfit}')
    missing = find_missing(config, tool)
    if missing:
        raise UsageError(describe_missing(missing, arguments.config))
    return script


def _config_first(argv: Sequence[str]) -> list[str]:
    """Moves a config that follows --resume to the front: mmseg's --resume takes no value, and mmdet's would take it."""
    for i, (option, value) in enumerate(pairwise(argv)):
        if option == '--resume' and value.endswith(CONFIG_SUFFIXES):
            return [value, *argv[: i + 1], *argv[i + 2 :]]
    return list(argv)


def _parse(tool: str, argv: list[str]) -> argparse.Namespace:
    """Finds the few arguments that are needed here; the options that take values must be known to find them."""
    parser = Parser(usage=EXPECTED[tool], add_help=False)
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
    except BAD_OPTIONS as error:
        raise explain_options(error) from error


def _check_checkpoint(path: str, where: str) -> None:
    if '://' in path:
        return
    if osp.isdir(path):
        raise UsageError(f'{path} is a folder, expected a checkpoint file {where}, such as epoch_12.pth in it.')
    if not osp.exists(path):
        raise UsageError(f'there is no checkpoint {path}, expected the file of a trained model {where}.')
    if not is_zipfile(path):  # torch writes zip files; whatever is none is damaged, or of an old torch and still fine
        read_checkpoint(path)


def _script(scope: str, tool: str) -> str:
    spec = find_spec(scope)
    if spec is None or spec.origin is None:
        raise UsageError(f'the config is for {scope}, which is not installed. {_how_to_install(scope)}')
    script = osp.join(osp.dirname(spec.origin), '.mim', 'tools', f'{tool}.py')
    if not osp.isfile(script):
        raise UsageError(
            f'the installed {scope} has no {script}; wheels bring it, some source installs do not. '
            f'{_how_to_install(scope)}'
        )
    return script


def _script_for_help(tool: str, argv: list[str]) -> str:
    """The help is the library's; without a config the first library that is there has to do."""
    try:
        config = read_config(_parse(tool, [word for word in argv if word not in ('-h', '--help')]).config, {})
    except UsageError:
        config = {}
    scopes = [config['default_scope']] if config.get('default_scope') in LIBRARIES else list(LIBRARIES)
    installed = [scope for scope in scopes if find_spec(scope)]
    print(f'usage: {EXPECTED[tool]}\nThe arguments below are those of {(installed or scopes)[0]}.\n')
    return _script((installed or scopes)[0], tool)


def _how_to_install(scope: str | None = None) -> str:
    what = LIBRARIES[scope] if scope else 'mmdet or mmsegmentation'
    return f'Install {what} as the README says, most simply with: make setup'
