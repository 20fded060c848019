"""The model that a command line names: a timm model, this package's included, or the backbone of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from torch import nn

_WEIGHTS = ('init_cfg', 'pretrained', 'checkpoint_path')  # of a config's backbone; what they hold is not asked for


def add_model_arguments(parser: ArgumentParser) -> None:
    """MODEL and ``--shape``; :func:`check_shape` checks that."""
    parser.add_argument('model', metavar='MODEL', help='a timm model name, or a config whose backbone is meant')
    parser.add_argument('--shape', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='pixels')


def check_shape(height: int, width: int) -> None:
    """``--shape``.

    Raises:
        UsageError: There are no such images.
    """
    if min(height, width) < 1:
        raise UsageError(f'--shape {height} {width}: both must be at least 1.')


def build(name: str, **options: Any) -> nn.Module:
    """The model, with random weights; ``ss_backbones.register()`` comes first.

    Args:
        name: A timm name or a config, as the user gave it.
        options: Arguments of this package's networks, which take precedence.

    Raises:
        UsageError: There is no such model, or it cannot be built.
    """
    return _from_config(name, options) if name.endswith('.py') else _from_timm(name, options)


def image_channels(model: nn.Module) -> int:
    """The channels of the images that it takes."""
    return getattr(model, 'in_channels', None) or getattr(model, 'in_chans', 3)


def _from_timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    import timm

    from ..timm_models import model_names

    if not timm.is_model(name):
        near = ', '.join(timm.list_models(f'*{name}*')[:5] or model_names())
        raise UsageError(f'{name!r} is neither a timm model nor a config file. Perhaps: {near}')
    if options and name not in model_names():
        raise UsageError(f"{', '.join(options)}: that is for this package's models; {name} has none.")
    try:
        return timm.create_model(name, **options)
    except ValueError as error:
        raise UsageError(f'{name}: {error}') from error


def _from_config(name: str, options: Mapping[str, Any]) -> nn.Module:
    # only a config needs OpenMMLab, so a machine without it can still take the timm models
    from ..openmmlab.backbone_building import build_backbone
    from ..openmmlab.configs import library_of, read_config

    config = read_config(name, {}, custom_imports=True)
    backbone = (config.get('model') or {}).get('backbone') or {}
    if not {'name', 'type'} & backbone.keys():
        raise UsageError(f'{name} has no model.backbone with a name or a type, which is what is meant.')
    given = {key: value for key, value in backbone.items() if key not in _WEIGHTS}
    try:
        return build_backbone({**given, **options}, library_of(config))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{name}: {error}') from error
