"""What is looked at before the train.py or test.py of the installed mmdet or mmsegmentation takes over.

Whatever can be seen to be wrong is said in one plain message: the config, the library, the checkpoint, the data.
"""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from mmengine.config import Config

from ..checkpoints.files import is_safetensors, read_checkpoint
from ..errors import UsageError
from ..training.resume import check_unused
from .backbone_building import own_class
from .configs import read_config, require_library
from .data_check import describe_missing, find_missing
from .model_check import check_model
from .swapping.verifying import check_fit


@dataclass(frozen=True)
class Launch:
    """What a library's script needs to be told.

    Args:
        library: 'mmdet' or 'mmseg'.
        work_dir: Of the run; None for the script's own choice.
        own_runner: Whether the config names its Runner.
        warning: What will be in the way of the result, in words.
    """

    library: str
    work_dir: str | None
    own_runner: bool
    warning: str = ''


def check_launch(
    tool: str,
    name: str,
    options: Mapping[str, Any],
    *,
    checkpoint: str | None = None,
    resume: str | None = None,
    work_dir: str | None = None,
    dry_run: bool = False,
    distributed: bool = False,
) -> Launch:
    """Find the library that a config is for, and what would stop its script.

    Args:
        tool: Which script, 'train' or 'test'.
        name: The config.
        options: What --cfg-options holds.
        checkpoint: The trained weights to test.
        resume: What --resume is given, if anything.
        work_dir: What --work-dir is given.
        dry_run: Nothing will be written.
        distributed: There are several processes.

    Returns:
        What the script needs to be told.

    Raises:
        UsageError: The config, the paths in it, or its backbone cannot work, or the work dir is another run's; or the
            training is distributed and leaves parameters of the backbone out, at which DDP stops.
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
    _check_import(config, name)
    check_model(config, tool, name)
    missing = find_missing(config, tool)
    if missing:
        raise UsageError(describe_missing(missing, name))
    own_runner = 'runner_type' in config
    if tool == 'test':
        return Launch(library, work_dir, own_runner)
    idle = check_fit(read, name, library)
    if idle and distributed and not _finds_unused(config):
        raise UsageError(f'{idle} Without either, DDP stops in its second step.')
    work_dir = work_dir or config.get('work_dir') or f'work_dirs/{Path(name.rpartition("::")[2]).stem}'
    if resume is None and not config.get('resume') and not dry_run:
        check_unused(work_dir)
    return Launch(library, work_dir, own_runner, idle)


def _finds_unused(config: Mapping[str, Any]) -> bool:
    """Whether DDP looks for parameters without a gradient, where mmengine reads it."""
    return bool((config.get('model_wrapper_cfg') or config).get('find_unused_parameters'))


def _check_checkpoint(path: str, where: str) -> None:
    if '://' in path:
        return
    if osp.isdir(path):
        raise UsageError(f'{path} is a folder, expected a checkpoint file {where}, such as epoch_12.pth in it.')
    if not osp.exists(path):
        raise UsageError(f'there is no checkpoint {path}, expected the file of a trained model {where}.')
    if not is_zipfile(path):  # torch writes zip files; whatever is none is damaged, or of an old torch and still fine
        read_checkpoint(path)
        if is_safetensors(Path(path)):
            raise UsageError(
                f'{path} is in the format safetensors, which mmengine does not read. Give what the training wrote '
                f'{where}, such as epoch_12.pth.'
            )


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


def _check_import(config: Mapping[str, Any], name: str) -> None:
    """Here the backbones are registered in any case; where the config in the work dir is used they are not."""
    kind = ((config.get('model') or {}).get('backbone') or {}).get('type')
    imports = (config.get('custom_imports') or {}).get('imports')
    if not imports and isinstance(kind, str) and '.' not in kind and own_class({'type': f'ss_backbones.{kind}'}):
        raise UsageError(
            f"{name} has a backbone of type {kind!r}, but no custom_imports = dict(imports=['ss_backbones']): without "
            f"it no other program finds {kind}. Add that line, or write type='ss_backbones.{kind}'."
        )


def _values(value: object, key: str = '') -> Iterator[tuple[str, object]]:
    """Everything in nested dicts and lists, with its key."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    yield key, value
    for inner, item in pairs:
        yield from _values(item, f'{key}.{inner}'.lstrip('.'))
