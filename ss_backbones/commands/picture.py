"""Draws a trained model's predictions beside the truth, for some images of a config's test set."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from .parsing import Parser, check_score_thr

_DESCRIPTION = """Draw a model's predictions beside the truth: boxes and masks (mmdet), or classes of pixels (mmseg).
Below stands what the test evaluator measures over the whole test set.

  ss-backbones picture CONFIG CHECKPOINT OUT.png --num 6 --score-thr 0.5"""


def main(argv: Sequence[str], program: str) -> None:
    """Draw as the command line says.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('checkpoint', metavar='CHECKPOINT')
    parser.add_argument('out', metavar='OUT', type=Path, help='the picture, a PNG')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the test set (default: 6)')
    parser.add_argument('--score-thr', type=float, default=0.5, help='lowest score drawn, of mmdet (default: 0.5)')
    parser.add_argument(
        '--evaluate-up-to',
        type=int,
        default=500,
        metavar='N',
        help='evaluate the model over a test set of at most so many images, for the caption; 0: never (default: 500)',
    )
    parser.add_argument('--device', default='cpu', help='(default: cpu)')
    arguments = parser.parse_args(argv)
    if arguments.num < 1:
        raise UsageError(f'--num is a number of images, at least 1, not {arguments.num}.')
    check_score_thr(arguments.score_thr)
    if arguments.out.suffix.lower() != '.png':
        raise UsageError(f'The picture is a PNG; {arguments.out} does not end in .png.')

    from .. import register

    register()
    from ..openmmlab.pictures.comparison import make_picture

    shown = make_picture(
        arguments.config,
        arguments.checkpoint,
        arguments.out,
        num=arguments.num,
        score_thr=arguments.score_thr,
        evaluate_up_to=arguments.evaluate_up_to,
        device=arguments.device,
    )
    print(f'{arguments.out}: {shown}.')
