"""Prints multiply-adds and parameters of a timm model, this package's included, or of a config's backbone.

python tools/complexity.py ss_pvt_v2_b0
python tools/complexity.py pvt_v2_b0 --shape 800 1344
python tools/complexity.py configs/mask_rcnn/mask-rcnn_ss-pvtv2-b2_fpn_1x_coco.py --shape 800 1344
"""

import argparse
import sys
from pathlib import Path

import timm
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

from ..complexity import complexity
from ..timm_models import MODEL_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', metavar='MODEL', help='a timm model name, or a config whose backbone is meant')
    parser.add_argument('--shape', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--settings', choices=('specific', 'uniform'), help="for this package's models")
    arguments = parser.parse_args()
    if min(arguments.shape) < 1:
        parser.error(f'--shape {arguments.shape[0]} {arguments.shape[1]}: both must be at least 1.')
    model = _from_config(parser, arguments) if arguments.model.endswith('.py') else _from_timm(parser, arguments)
    channels = getattr(model, 'in_channels', None) or getattr(model, 'in_chans', 3)
    height, width = arguments.shape
    print(f'{arguments.model} at {height} x {width}: {complexity(model, (1, channels, height, width))}')


def _from_timm(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> nn.Module:
    name = arguments.model
    if not timm.is_model(name):
        near = ', '.join(timm.list_models(f'*{name}*')[:5] or timm.list_models('ss_*'))
        parser.error(f'{name!r} is neither a timm model nor a config file. Perhaps: {near}')
    if not arguments.settings:
        return timm.create_model(name)
    if name not in MODEL_NAMES:
        parser.error(f"--settings is for this package's models; {name} has none.")
    try:
        return timm.create_model(name, settings=arguments.settings)
    except ValueError as error:
        parser.error(f'{name}: {error}')


def _from_config(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> nn.Module:
    if arguments.settings:
        parser.error('--settings is for timm names; a config says itself which settings its backbone has.')
    # Only a config needs OpenMMLab, so a machine without it can still count the timm models.
    from ..openmmlab.backbone_building import build_backbone
    from ..openmmlab.command_line import UsageError, read_config

    try:
        config = read_config(arguments.model, {}, custom_imports=True)
    except UsageError as error:
        parser.error(str(error))
    backbone = (config.get('model') or {}).get('backbone') or {}
    if not {'name', 'type'} & backbone.keys():
        parser.error(f'{arguments.model} has no model.backbone with a name or a type, which is what would be counted.')
    try:
        return build_backbone(backbone, config.get('default_scope', 'mmengine'))
    except (KeyError, TypeError, ValueError) as error:
        parser.error(f'{arguments.model}: {error}')


if __name__ == '__main__':
    main()
