"""Checks of a config: its model, the checkpoints that it names, and its data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..environment import TESTED
from .findings import Check, Finding, Level, Problem, examine
from .packages import is_there

if TYPE_CHECKING:
    from mmengine.config import Config

_SECONDS = 60  # for a look at the files of a data set


def config_checks(name: str, options: Mapping[str, Any]) -> list[Check | Finding]:
    """Read a config, and list what is to be looked at in it; nothing more where it cannot be read.

    Args:
        name: A file, or LIBRARY::NAME.
        options: What --cfg-options holds.
    """
    read: dict[str, Any] = {}
    finding = examine(Check('config', lambda: _read(name, options, read)))
    if 'library' not in read:
        return [finding]
    config, library = read['config'], read['library']
    from ..openmmlab.data_check import find_missing

    checks: list[Check | Finding] = [
        finding,
        Check('model', lambda: _model(config, name, library)),
        Check('weights', lambda: _weights(config, library)),
        Check('load_from', lambda: _load_from(config, library)),
    ]
    missing = find_missing(config.to_dict(), 'train')
    for item in missing:
        cure = f'Say where it is: --cfg-options {item.setting}=PATH'
        checks.append(Finding('data', Level.FAILED, f'{item.path} {item.problem} ({item.setting})', cure))
    if not missing:
        checks += [Check(f'data ({loop})', lambda loop=loop: _data(config, library, loop)) for loop in ('train', 'val')]
    return checks


def _read(name: str, options: Mapping[str, Any], into: dict[str, Any]) -> str:
    _require('mmengine', 'mmcv')
    from .. import register

    register()
    from ..openmmlab.configs import read_config, require_library

    config = read_config(name, options, custom_imports=True)
    if str((config.get('model') or {}).get('type')).endswith('ImageClassifier'):
        return f'{name} is for a classifier: the data are named when it is trained, and not looked at here'
    library = require_library(name, config.to_dict())
    _require(library)
    into.update(config=config, library=library)
    return f'{name}, for {library}'


def _require(*modules: str) -> None:
    missing = [TESTED[module] for module in modules if not is_there(module)]
    if missing:
        raise Problem(f'needs {" and ".join(missing)}', f'pip install {" ".join(missing)}')


def _model(config: Config, name: str, library: str) -> str:
    from ..openmmlab.model_check import check_model
    from ..openmmlab.swapping.verifying import check_fit

    check_model(config.to_dict(), 'train', name)
    if idle := check_fit(config, name, library):
        raise Problem(idle, '', Level.WARNING)
    return f'{config.model.get("type")} with {(config.model.get("backbone") or {}).get("type")}: the parts fit'


def _weights(config: Config, library: str) -> str:
    """The init_cfg of a backbone of this package is loaded into it."""
    from ..openmmlab.backbone_building import build_backbone, own_class
    from ..openmmlab.pretrained import is_pretrained

    backbone = (config.get('model') or {}).get('backbone') or {}
    given = backbone.get('init_cfg') or []
    named = [cfg.get('checkpoint') for cfg in (given if isinstance(given, list) else [given]) if is_pretrained(cfg)]
    if not named:
        return 'the backbone begins with random weights'
    if any('://' in str(path) for path in named):
        raise Problem(f'{named[0]} is fetched when the training begins, and not looked at', '', Level.WARNING)
    if own_class(backbone) is None:
        _readable(named)
        return f'{named[0]} can be read; the backbone is none of this package'
    build_backbone(backbone, library).init_weights()
    return f'{", ".join(named)}: fits the backbone'


def _load_from(config: Config, library: str) -> str:
    """What the whole model begins with fits it."""
    from ..checkpoints.files import read_checkpoint
    from ..training.hooks import CheckpointCheckHook

    path = config.get('load_from')
    if not path:
        return 'none'
    if '://' in path:
        raise Problem(f'{path} is fetched when the training begins, and not looked at', '', Level.WARNING)
    checkpoint = read_checkpoint(path)
    runner = SimpleNamespace(
        cfg=config, model=_build(config, library), _load_from=path, _resume=False, optim_wrapper=object()
    )
    CheckpointCheckHook().after_load_checkpoint(runner, checkpoint)
    return f'{path}: fits the model'


def _data(config: Config, library: str, loop: str) -> str:
    """A data set is built, and its files looked at."""
    from mmengine.registry import DATASETS, init_default_scope

    from ..data_faults import parts_of
    from ..training.data_check import DataCheck

    given = (config.get(f'{loop}_dataloader') or {}).get('dataset')
    if not given:
        return 'none'
    said: list[str] = []
    check = DataCheck(skip=False, seconds=_SECONDS, file=None, say=said.append, warn=said.append)
    init_default_scope(library)
    start = time.monotonic()
    check.before_building(given, 'the annotations')
    seconds = time.monotonic() - start
    dataset = DATASETS.build(given)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    model = _build(config, library)
    start = time.monotonic()
    check.after_building(dataset, 'the data', model, look=True)
    seconds += time.monotonic() - start
    if not list(parts_of(dataset)):
        return f'{len(dataset)} images, not looked at'
    return f'{len(dataset)} images, {said[-1] if said else "nothing wrong with their files"} (in {seconds:.1f} s)'


def _build(config: Config, library: str) -> Any:
    import torch
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(library)
    with torch.device('meta'):
        return MODELS.build(config.model)


def _readable(paths: list[Any]) -> None:
    from ..checkpoints.files import read_checkpoint

    for path in paths:
        read_checkpoint(str(path or ''))
