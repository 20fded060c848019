"""Measures how time and memory of each stage of a network grow with the image, and draws them in one picture.

    ss-backbones growth growth.png
    ss-backbones growth growth.png --models b2 b2:uniform --sides 224 448 896 1792 --device cuda --csv growth.csv
    ss-backbones growth growth.png --models b0 configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0-ufo_fpn_1x_coco.py

Time: forward passes of one square image in float32 inference, the models in turn, medians. Memory: what a stage keeps
for the backward pass in training, beside its parameters. The exponents are those of the number of pixels, fitted by
least squares to the logarithms of all sides: 1 is linear, 2 quadratic. Of a network without stages the quarters of its
blocks are measured; what precedes the first stage counts with it, and what follows the last is left out. The table has
the sum of the stages as well.
"""

from collections import defaultdict
from pathlib import Path

from ..errors import UsageError
from ..output_files import check_new
from .parsing import Parser

SIDES = (224, 320, 448, 640, 896, 1280, 1792, 2048)
MODELS = ('b0', 'b0:uniform')
PANELS = {'time of a forward pass, ms': 'time_ms', 'kept for the backward pass, MiB': 'saved_mib'}


def main(argv: list[str], program: str) -> int:
    """0, 1 if something could not be measured, 130 after Ctrl-C."""
    parser = Parser(program, __doc__)
    parser.add_argument('out', type=Path, metavar='OUT.png', help='the picture, a new file')
    parser.add_argument(
        '--models',
        nargs='+',
        default=MODELS,
        metavar='NAME[:uniform]',
        help="networks of this package, such as b0 or vit-tiny, or configs with one (.py); ':uniform' is the plain "
        f'twin, one setting for all blocks. Default: {" ".join(MODELS)}',
    )
    parser.add_argument('--sides', nargs='+', type=int, default=SIDES, help=f'default: {" ".join(map(str, SIDES))}')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--runs', type=int, default=5, help='timed runs of each model at each side; default 5')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write the figures as well; a new file')
    arguments = parser.parse_args(argv)
    names, sides, out = list(dict.fromkeys(arguments.models)), sorted(set(arguments.sides)), arguments.out
    if arguments.runs < 1:
        raise UsageError(f'--runs {arguments.runs}: at least one run is needed.')
    if sides[0] < 1 or len(sides) < 2:
        given = ' '.join(map(str, arguments.sides))
        raise UsageError(f'--sides {given}: at least two different ones are needed for an exponent, all 1 or more.')
    if out.suffix != '.png':
        raise UsageError(f'{out} does not end in .png.')
    if arguments.csv and arguments.csv.resolve() == out.resolve():
        raise UsageError(f'{out} cannot be both the picture and the CSV file.')
    for file in filter(None, (out, arguments.csv)):
        check_new(file)

    import torch

    from .. import register
    from ..benchmark.candidates import find, own_networks
    from ..benchmark.growth import curve, exponent, measure, rows, stages, total
    from ..benchmark.growth_picture import LINES, draw
    from ..benchmark.machine import machine_name
    from ..benchmark.names import split
    from ..benchmark.plan import Plan
    from ..benchmark.results import write_csv
    from ..tables import print_table

    register()
    plan, own = Plan(device=arguments.device), own_networks()
    for name in names:
        network, options = split(name)
        if not (network.endswith('.py') or network in own) or set(options) - {'uniform'}:
            raise UsageError(
                f'{name!r}: the stages that are measured are those of networks of this package. Possible are '
                f"{', '.join(own)}, each with ':uniform' for its plain twin, and configs (.py)."
            )
    if len(names) > len(LINES):
        raise UsageError(f'{len(names)} models are too many for one picture; take up to {len(LINES)}.')
    candidates = [find(name, plan) for name in names]
    machine = machine_name(plan.device)
    print(f'{machine}, torch {torch.__version__}, one image, float32')
    cells = defaultdict(dict)
    try:
        failed = measure(candidates, sides, plan, arguments.runs, cells)
        print(*failed, sep='\n', end='\n' * bool(failed))
        code = int(bool(failed))
    except KeyboardInterrupt:
        code = 130
    names = [name for name in names if stages(cells, name)]
    if names:
        print('\nexponents over the number of pixels')
        most = max(len(stages(cells, name)) for name in names)
        columns = {f'stage {i + 1}': '.2f' for i in range(most)} | {'together': '.2f'}
        table = [
            (
                name,
                what,
                *(exponent(curve(cells, name, stage, column)) for stage in range(1, most + 1)),
                exponent(total(cells, name, column)),
            )
            for name in names
            for what, column in (('time', 'time_ms'), ('memory', 'saved_mib'))
        ]
        print_table({'model': '', 'of': '', **columns}, table)
        if arguments.csv:
            same = {'runs': arguments.runs, 'device': plan.device, 'machine': machine, 'torch': torch.__version__}
            write_csv(arguments.csv, rows(cells, names, same))
        draw(cells, names, PANELS, f'one image, float32; {machine}, torch {torch.__version__}', out)
        print(f'{out}: {" and ".join(names)}')
    if code == 130:
        print('stopped; what had been measured is there')
    return code
