"""Prints multiply-adds and parameters of a timm model, this package's included, or of a config's backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UsageError
from .parsing import Parser

if TYPE_CHECKING:
    from torch import nn

_DESCRIPTION = """Print multiply-adds and parameters of a timm model, or of a config's backbone.

  ss-backbones complexity ss_pvt_v2_b0
  ss-backbones complexity pvt_v2_b0 --shape 800 1344
  ss-backbones complexity ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b2_fpn_1x_coco.py --shape 800 1344"""


def main(argv: Sequence[str], program: str) -> None:
    """Count as the command line says, and print the figures.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('model', metavar='MODEL', help='a timm model name, or a config whose backbone is meant')
    parser.add_argument('--shape', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--settings', choices=('specific', 'uniform'), help="for this package's models")
    arguments = parser.parse_args(argv)
    name, (height, width) = arguments.model, arguments.shape
    if min(height, width) < 1:
        raise UsageError(f'--shape {height} {width}: both must be at least 1.')

    from .. import register

    register()
    from ..complexity import complexity

    model = _from_config(name, arguments.settings) if name.endswith('.py') else _from_timm(name, arguments.settings)
    channels = getattr(model, 'in_channels', None) or getattr(model, 'in_chans', 3)
    print(f'{name} at {height} x {width}: {complexity(model, (1, channels, height, width))}')


def _from_timm(name: str, settings: str | None) -> nn.Module:
    import timm

    from ..timm_models import model_names

    if not timm.is_model(name):
        near = ', '.join(timm.list_models(f'*{name}*')[:5] or timm.list_models('ss_*'))
        raise UsageError(f'{name!r} is neither a timm model nor a config file. Perhaps: {near}')
    if not settings:
        return timm.create_model(name)
    if name not in model_names():
        raise UsageError(f"--settings is for this package's models; {name} has none.")
    try:
        return timm.create_model(name, settings=settings)
    except ValueError as error:
        raise UsageError(f'{name}: {error}') from error


def _from_config(name: str, settings: str | None) -> nn.Module:
    if settings:
        raise UsageError('--settings is for timm names; a config says itself which settings its backbone has.')
    # only a config needs OpenMMLab, so a machine without it can still count the timm models
    from ..openmmlab.backbone_building import build_backbone
    from ..openmmlab.configs import library_of, read_config

    config = read_config(name, {}, custom_imports=True)
    backbone = (config.get('model') or {}).get('backbone') or {}
    if not {'name', 'type'} & backbone.keys():
        raise UsageError(f'{name} has no model.backbone with a name or a type, which is what would be counted.')
    try:
        return build_backbone(backbone, library_of(config))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{name}: {error}') from error
