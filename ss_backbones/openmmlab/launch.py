"""What is looked at before the train.py or test.py of the installed mmdet or mmsegmentation takes over.

Whatever can be seen to be wrong is said in one plain message: the config, the library, the checkpoint, the data.
"""

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import is_zipfile

from ..checkpoints.files import read_checkpoint
from ..errors import UsageError
from .configs import LIBRARIES, library_of, read_config
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
        One of LIBRARIES.

    Raises:
        UsageError: The config, the paths in it, or its backbone cannot work.
        CheckpointError: The checkpoint cannot be read.
    """
    config = read_config(name, options).to_dict()
    library = library_of(config)
    if library not in LIBRARIES:
        raise UsageError(_no_library(name, config))
    if checkpoint is not None:
        _check_checkpoint(checkpoint, 'as the second argument')
    elif library == 'mmdet' and resume not in (None, 'auto'):
        _check_checkpoint(resume, 'after --resume')
    _check_classes(name, config)
    check_model(config, tool, name)
    missing = find_missing(config, tool)
    if missing:
        raise UsageError(describe_missing(missing, name))
    return library


def _no_library(name: str, config: Mapping[str, Any]) -> str:
    kind, scope = str((config.get('model') or {}).get('type')), config.get('default_scope')
    if kind.endswith('ImageClassifier'):
        return (
            f'{name} is for a classifier ({kind}): take ss-backbones pretrain to train it, and ss-backbones evaluate '
            'to test it.'
        )
    given = f'sets default_scope = {scope!r}' if scope else f'sets no default_scope, and its model is {kind}'
    return (
        f'{name} {given}; expected {" or ".join(map(repr, LIBRARIES))}. It says what library the config is for: '
        'inherit from a config of that library, or set default_scope.'
    )


def _check_checkpoint(path: str, where: str) -> None:
    if '://' in path:
        return
    if osp.isdir(path):
        raise UsageError(f'{path} is a folder, expected a checkpoint file {where}, such as epoch_12.pth in it.')
    if not osp.exists(path):
        raise UsageError(f'there is no checkpoint {path}, expected the file of a trained model {where}.')
    if not is_zipfile(path):  # torch writes zip files; whatever is none is damaged, or of an old torch and still fine
        read_checkpoint(path)


def _check_classes(name: str, config: Mapping[str, Any]) -> None:
    """mmengine cannot write a class to the work dir's config, unless a pure-Python config imports it."""
    key, cls = next(_classes(config), ('', object))
    if key:
        raise UsageError(
            f'{name} holds the class {cls.__name__} as {key}, which mmengine cannot write to the config in the work '
            'dir. Import its module in place of it (import ss_backbones, then ss_backbones.BlockSetting(...)); a type '
            f"is a name (type='ss_backbones.SSPVTv2')."
        )


def _classes(value: object, key: str = '') -> Iterator[tuple[str, type]]:
    if isinstance(value, type):
        yield key, value
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for inner, item in pairs:
        yield from _classes(item, f'{key}.{inner}'.lstrip('.'))
