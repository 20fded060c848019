"""The config that trains a network with derived settings."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import wrap

from mmengine.config import Config

from ..errors import ProbeError
from ..openmmlab.configs import read_config
from ..openmmlab.pretrained import is_pretrained
from ..settings import SPECIFIC, BlockSetting
from .record import Record
from .target import WEIGHTS as WEIGHT_KEYS
from .target import Target

OF_THE_RUN = ('work_dir', 'load_from', 'resume', 'launcher')  # what a flattened config says of the old training
_TEST = ('test_dataloader', 'test_cfg', 'test_evaluator')  # pretrain leaves them out of its run's config
_WIDTH = 112  # of a comment


def read_base(record: Record, base: str | None, where: Path) -> tuple[Config, str]:
    """The config that is to be changed, and its name.

    Args:
        record: A probe, whose config is taken where ``base`` is None.
        base: A config's file.
        where: The probe's file.

    Raises:
        ProbeError: There is neither, or the probe's cannot be read.
        UsageError: The file cannot be read as a config.
    """
    if base is not None:
        return read_config(base, {}, custom_imports=True), base
    if record.config is None:
        raise ProbeError(
            f'{where} has no config, as its checkpoints had none, so the network is not known. Give the config that it '
            'was trained with: --base CONFIG.'
        )
    name = f'the config in {where}'
    try:
        return _parse_flattened(record.config), name
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError) as error:
        why = f'{"" if isinstance(error, ValueError) else f"{type(error).__name__}: "}{error}'
        raise ProbeError(f'{name} is no flattened config of mmengine ({why}). Give --base CONFIG.') from error


def change_config(config: Config, target: Target) -> list[str]:
    """Make a config one of the SS network, but for its settings.

    Args:
        config: A classifier's, detector's or segmenter's; changed in place.
        target: Its network.

    Returns:
        Sentences about what somebody may miss in it, or trip over.
    """
    for key in OF_THE_RUN:
        config.pop(key, None)
    backbone, notes = config.model.backbone, []
    for key in ('mlp', 'settings'):
        backbone.pop(key, None)
    for place, part in (('model', config.model), ('model.backbone', backbone)):
        for key in WEIGHT_KEYS:
            file = _file_of(key, part.get(key))
            if file == '':
                notes.append(
                    f'{place}.{key} names no checkpoint yet: fill in that of a classifier trained with these settings, '
                    f'or set {place}.{key}=None.'
                )
            elif file:
                del part[key]
                notes.append(
                    f'{place}.{key} ({file}) is left out: its weights do not fit the derived network, which starts '
                    'from random ones.'
                )
    if 'name' in backbone:
        backbone.name = target.backbone['name']
        if config.get('val_dataloader') and not any(map(config.get, _TEST)):
            config.update({key: config.get(key.replace('test', 'val')) for key in _TEST})
    if (config.get('auto_scale_lr') or {}).get('enable') is False and 'name' in backbone:
        notes.append(
            'The learning rate is taken as the config has it, whatever the batch: auto_scale_lr.enable is False.'
        )
    return notes


def config_text(config: Config, header: Sequence[str], settings: Sequence[BlockSetting], reasons: Sequence[str]) -> str:
    """The content of the config's file.

    Args:
        config: What :func:`change_config` made.
        header: Paragraphs of the comment at its top.
        settings: One for each block of the arch.
        reasons: Why, one for each; comments before the settings.

    Raises:
        ProbeError: It holds what cannot be written as text, such as a function.
    """
    try:
        body = config.pretty_text.strip()
    except SyntaxError as error:
        raise ProbeError('The config holds values that cannot be written as text; give one without: --base.') from error
    lines = [line for paragraph in header for line in _comment(paragraph)]
    lines += ['', body, '', "model['backbone']['settings'] = ["]
    for setting, reason in zip(settings, reasons, strict=True):
        others = (f.name for f in fields(setting) if f.name not in SPECIFIC and getattr(setting, f.name) != f.default)
        values = {name: getattr(setting, name) for name in (*SPECIFIC, *others)}
        arguments = ', '.join(f'{key}={value!r}' for key, value in values.items())
        lines += [f'    {line}' for line in _comment(reason)] + [f'    dict({arguments}),']
    return '\n'.join([*lines, ']', ''])


def _parse_flattened(text: str) -> Config:
    """The config that mmengine wrote as this text, which is not run: it comes with a checkpoint, maybe a stranger's."""
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f'line {statement.lineno} is no "name = value"')
        values[statement.targets[0].id] = _value(statement.value)
    return Config(values)


def _value(node: ast.expr) -> object:
    """What is written there: a literal, or ``dict(...)`` of such."""
    match node:
        case ast.Call(func=ast.Name(id='dict')):
            values = {}
            for item in node.args:  # keys that are no names, such as '.norm', come in a dict of their own
                values.update(_value(item))
            return values | {item.arg: _value(item.value) for item in node.keywords}
        case ast.Dict() if None not in node.keys:  # None stands for ** there
            return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.List() | ast.Tuple():
            return (list if isinstance(node, ast.List) else tuple)(_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f'line {node.lineno} has {ast.unparse(node)[:40]!r}, which is no plain value') from None


def _file_of(key: str, value: object) -> object:
    """What a part of a config takes its weights from, or nothing; '' is a place that the user has yet to fill."""
    if key != 'init_cfg':
        return value
    return value.get('checkpoint') if isinstance(value, Mapping) and is_pretrained(value) else None


def _comment(text: str) -> list[str]:
    return [f'# {line}' for line in wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]
