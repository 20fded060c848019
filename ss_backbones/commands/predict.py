"""Draws what a trained detector or segmenter sees in images."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from .parsing import Parser, check_score_thr

_DESCRIPTION = """Draw what a trained model sees in images: boxes and masks (mmdet), or classes of pixels (mmseg).
The colours are those of the classes. The picture of IMAGE is DIR/NAME.png; nothing is written over.

  ss-backbones predict CONFIG CHECKPOINT street.jpg holidays/ --out predictions --score-thr 0.3"""


def main(argv: Sequence[str], program: str) -> None:
    """Predict as the command line says, and print what was found.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('config', metavar='CONFIG', help='of mmdet or mmseg: a file, or LIBRARY::NAME')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help="weights of the config's model")
    parser.add_argument('images', metavar='IMAGE', nargs='+', type=Path, help='an image, or a folder of images')
    parser.add_argument('--out', metavar='DIR', type=Path, default=Path('predictions'), help='(default: predictions)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score drawn, of mmdet (default: 0.3)')
    parser.add_argument('--device', default='cpu', help='such as cuda (default: cpu)')
    arguments = parser.parse_args(argv)
    check_score_thr(arguments.score_thr)

    from .. import register

    register()
    from ..openmmlab.pictures.prediction import predict
    from ..tables import print_table

    rows = predict(
        arguments.config,
        arguments.checkpoint,
        arguments.images,
        folder=arguments.out,
        score_thr=arguments.score_thr,
        device=arguments.device,
    )
    print_table(
        {'image': '', 'found': '', 'picture': ''},
        [(str(row.image), row.found, None if row.picture is None else str(row.picture)) for row in rows],
    )
    unread = sum(row.picture is None for row in rows)
    if unread:
        raise DataError(f'{unread} of {len(rows)} images could not be read; the table says which.')
