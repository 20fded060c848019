"""Draws what the command benchmark wrote as CSV: images a second and peak memory, in one row of two panels.

    ss-backbones plot-benchmark CSV [CSV ...] OUT.png

Speed is given relative to the candidate that the others were compared to, so that it is 1 there, with the quartiles as
whiskers; memory as it was measured, with what was held before the first run in a lighter shade. Only what was measured
alike and compared to the same candidate shares a row; all else gets a row of its own.
"""

from pathlib import Path

from ..errors import UsageError
from ..output_files import check_new
from .parsing import Parser


def main(argv: list[str], program: str) -> None:
    """See the module."""
    parser = Parser(program, __doc__)
    parser.add_argument('csv', type=Path, nargs='+', metavar='CSV', help='written by ss-backbones benchmark --csv')
    parser.add_argument('out', type=Path, metavar='OUT.png', help='a new file')
    arguments = parser.parse_args(argv)
    if arguments.out.suffix != '.png':
        raise UsageError(f'{arguments.out} does not end in .png; the CSV files come first, the picture last.')
    check_new(arguments.out)
    places = [file.resolve() for file in arguments.csv]
    for file, place in zip(arguments.csv, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f'{file} is given more than once; give it once.')

    import pandas as pd

    from ..benchmark.figures import save
    from ..benchmark.speed_picture import draw, grouped, read

    groups = grouped(pd.concat([read(file) for file in arguments.csv], ignore_index=True))
    save(draw(groups), arguments.out)
    print(f'{arguments.out}: {len(groups)} row{"s" * (len(groups) > 1)} of panels')
