"""Prints multiply-adds and parameters of a timm model, this package's included, or of a config's backbone."""

from collections.abc import Sequence

from ..errors import UsageError
from .named_model import add_model_arguments, build, check_shape, image_channels
from .parsing import Parser

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
    add_model_arguments(parser)
    parser.add_argument('--settings', choices=('specific', 'uniform'), help="for this package's models")
    arguments = parser.parse_args(argv)
    name, (height, width), settings = arguments.model, arguments.shape, arguments.settings
    check_shape(height, width)
    if settings and name.endswith('.py'):
        raise UsageError('--settings is for timm names; a config says itself which settings its backbone has.')

    from .. import register

    register()
    from ..complexity import complexity

    model = build(name, **({'settings': settings} if settings else {}))
    print(f'{name} at {height} x {width}: {complexity(model, (1, image_channels(model), height, width))}')
