"""What the command lines of the tools share: reading a config, and words for what cannot be."""

import os.path as osp
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..commands.parsing import Parser as Parser
from ..errors import UsageError

CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')
BAD_OPTIONS = (ValueError, AssertionError)  # what mmengine's DictAction raises for a malformed --cfg-options


def explain_options(error: Exception) -> UsageError:
    """The words for a malformed --cfg-options."""
    return UsageError(f'--cfg-options takes KEY=VALUE pairs without spaces in them: {error}')


def read_config(path: str, options: Mapping[str, Any], custom_imports: bool = False) -> Config:
    """A config with the options of --cfg-options.

    Args:
        path: Its file.
        options: What --cfg-options holds.
        custom_imports: Import what it wants imported, for a tool that builds its parts by itself.

    Raises:
        UsageError: There is no such file, it is no config or a broken one, or the options do not fit it.
    """
    if not osp.exists(path):
        raise UsageError(f'there is no config file {path}. Configs are found in the folder configs/.')
    if osp.isdir(path) or not path.endswith(CONFIG_SUFFIXES):
        raise UsageError(f'{path} is not a config, expected a Python file such as those in the folder configs/.')
    try:
        config = Config.fromfile(path, import_custom_modules=custom_imports)
    except ModuleNotFoundError as error:  # a base such as mmdet::... without mmdet
        raise UsageError(
            f'{path} needs a package that is missing: {error}. Install it as the README says, most simply with: '
            'make setup'
        ) from error
    except Exception as error:  # a config is a program: it may fail in any way, and the user has to know where
        raise UsageError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError) as error:
        raise UsageError(f'--cfg-options does not fit {path}: {error.args[0]}') from error
    return config
