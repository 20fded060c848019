"""What is looked at before the train.py or test.py of the installed mmdet or mmsegmentation takes over.

Whatever can be seen to be wrong is said in one plain message: the config, the library, the checkpoint, the data.
"""

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import is_zipfile

from mmengine.config import Config

from ..checkpoints.files import read_checkpoint
from ..errors import UsageError
from .configs import read_config, require_library
from .data_check import describe_missing, find_missing
from .model_check import check_model


def check_launch(
    tool: str, name: str, options: Mapping[str, Any], checkpoint: str | None = None, resume: str | None = None
) -> str:
    """Find the library that a config is for, and what would stop its script.

    Args:
        tool: Which script, 'train' or 'test'.
        name: The config.
        options: What --cfg-options holds.
        checkpoint: The trained weights to test.
        resume: What --resume is given, if anything.

    Returns:
        'mmdet' or 'mmseg'.

    Raises:
        UsageError: The config, the paths in it, or its backbone cannot work.
        CheckpointError: The checkpoint cannot be read.
    """
    read = read_config(name, options)
    config = read.to_dict()
    library = require_library(name, config)
    if checkpoint is not None:
        _check_checkpoint(checkpoint, 'as the second argument')
    elif library == 'mmdet' and resume not in (None, 'auto'):
        _check_checkpoint(resume, 'after --resume')
    _check_classes(name, read)
    check_model(config, tool, name)
    missing = find_missing(config, tool)
    if missing:
        raise UsageError(describe_missing(missing, name))
    return library


def _check_checkpoint(path: str, where: str) -> None:
    if '://' in path:
        return
    if osp.isdir(path):
        raise UsageError(f'{path} is a folder, expected a checkpoint file {where}, such as epoch_12.pth in it.')
    if not osp.exists(path):
        raise UsageError(f'there is no checkpoint {path}, expected the file of a trained model {where}.')
    if not is_zipfile(path):  # torch writes zip files; whatever is none is damaged, or of an old torch and still fine
        read_checkpoint(path)


def _check_classes(name: str, config: Config) -> None:
    """What a config imports must be there; and mmengine cannot write a class to the work dir's config.

    It can, as a name, where a pure-Python config imports it.
    """
    written = config.to_dict()
    try:
        list(_values({key: config[key] for key in written}))  # what a pure-Python config names is imported here
    except ImportError as error:
        raise UsageError(f'{name}: {error}') from error
    key, cls = next(((key, value) for key, value in _values(written) if isinstance(value, type)), ('', object))
    if key:
        raise UsageError(
            f'{name} holds the class {cls.__name__} as {key}, which mmengine cannot write to the config in the work '
            'dir. Import its module in place of it (import ss_backbones, then ss_backbones.BlockSetting(...)); a type '
            "is a name (type='ss_backbones.SSPVTv2')."
        )


def _values(value: object, key: str = '') -> Iterator[tuple[str, object]]:
    """Everything in nested dicts and lists, with its key."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    yield key, value
    for inner, item in pairs:
        yield from _values(item, f'{key}.{inner}'.lstrip('.'))
