"""Draws the data set of the demos: overlapping shapes, COCO-format instance masks, and the same as label maps."""

from collections.abc import Sequence
from pathlib import Path

from .parsing import Parser

_DESCRIPTION = """Draw a data set of overlapping shapes, with COCO-format instance masks and semantic label maps.

  ss-backbones make-shapes data/shapes --train 1000 --val 100 --size 128 --seed 0"""


def main(argv: Sequence[str], program: str) -> None:
    """Draw as the command line says; what is there already in whole is left alone.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument(
        'out_dir', metavar='OUT', type=Path, help='a new or empty folder, or one that holds this very data set'
    )
    parser.add_argument('--train', type=int, default=1000, help='training images (default: %(default)s)')
    parser.add_argument('--val', type=int, default=100, help='held-out images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=128, help="an image's side in pixels (default: %(default)s)")
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    arguments = parser.parse_args(argv)

    from .shapes import Parameters, make_shapes

    parameters = Parameters(arguments.train, arguments.val, arguments.size, arguments.seed)
    made = make_shapes(arguments.out_dir, parameters)
    counts = f'{parameters.train} training and {parameters.val} held-out images'
    print(f'{arguments.out_dir}: {counts} {"drawn" if made else "are there already, nothing to do"}.')
