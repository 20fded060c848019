"""Turns a checkpoint of any known layout into one of another, and says which network it is of."""

from collections.abc import Sequence

from .parsing import Parser

_DESCRIPTION = """Turn a checkpoint of any known layout into one of another, and say which network it is of.

  ss-backbones convert checkpoint.pth timm.pth --to timm
  ss-backbones convert work_dirs/NAME/epoch_300.pth weights.pth --to openmmlab --ema
  ss-backbones convert checkpoint.pth weights.safetensors --to official --safetensors"""


def main(argv: Sequence[str], program: str) -> None:
    """Convert as the command line says, and print the report.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument(
        'checkpoint', metavar='CHECKPOINT', help='a file of torch.save or safetensors, or its http(s) address'
    )
    parser.add_argument('out', metavar='OUT', help='the new file')
    parser.add_argument(
        '--to',
        choices=('timm', 'official', 'openmmlab'),
        required=True,
        help="timm: a flat state dict; official: one under 'model'; openmmlab: keys under 'backbone.', in 'state_dict'",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--ema', action='store_const', const=True, dest='average', help='the averaged weights, or an error'
    )
    which.add_argument(
        '--raw', action='store_const', const=False, dest='average', help='the raw weights, where there is an average'
    )
    parser.add_argument('--safetensors', action='store_true', help='write the tensors alone, in this format')
    arguments = parser.parse_args(argv)

    from .. import register

    register()
    from ..checkpoints.conversion import convert

    report = convert(
        arguments.checkpoint,
        arguments.out,
        arguments.to,
        average=arguments.average,
        safetensors=arguments.safetensors,
    )
    print(report)
