"""Times backbones, or whole detectors, against each other: run by run in turn, in one process, medians and their ratio.

    ss-backbones benchmark
    ss-backbones benchmark --mode train --csv train.csv
    ss-backbones benchmark --models b2 b2:uniform --against timm:pvt_v2_b2 mmdet:PVTv2-b2 --shapes 1x800x1344
    ss-backbones benchmark --models b0 vit-tiny --against timm:convnext_tiny timm:swin_tiny_patch4_window7_224
    ss-backbones benchmark --detector --against timm:pvt_v2_b0 mmdet:PVTv2-b0

Peak memory is that of each candidate in a process of its own. The share is that of the rate of multiply-adds which a
large matrix product reached beside it; a training step counts as three forward passes.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UsageError
from ..output_files import check_new
from .parsing import Parser

MODELS = {'cpu': ['b0', 'b0:uniform'], 'cuda': ['b2', 'b2:uniform']}
PEERS = {'cpu': ['timm:pvt_v2_b0'], 'cuda': ['timm:pvt_v2_b2']}
SHAPES = {
    ('cpu', 'infer'): ['8x224x224', '1x800x1344'],
    ('cpu', 'train'): ['2x512x512'],
    ('cuda', 'infer'): ['256x224x224', '1x800x1344'],
    ('cuda', 'train'): ['2x800x1344'],
}
DETECTOR_SHAPES = {'infer': ['1x800x1344'], 'train': ['2x512x512']}
NAMES = (
    'networks of this package, such as b0, vit-tiny or ss_pvt_v2_b0 (a wrong name lists all), each with '
    "':uniform' (its plain twin, the same network with one setting for all blocks), ':dfc' (the twin with DFC MLPs), "
    "':bias' (its ramps in biases), "
    "':cp' (activations recomputed in the backward pass), ':folded' (ss_backbones.fold); a config of this package, "
    "NAME.py or ss_backbones::NAME.py, with ':cp' and ':folded'; peers: timm:NAME, also with ':cp', and "
    'mmdet:PVTv2-b0 to mmdet:PVTv2-b5, mmdet:Swin-t to mmdet:Swin-b'
)


def main(argv: list[str], program: str) -> int:
    """0, 1 if a candidate failed, 130 after Ctrl-C."""
    arguments = _parser(program).parse_args(argv)
    if arguments.runs < 1:
        raise UsageError(f'--runs {arguments.runs}: at least one run is needed.')
    for out in filter(None, (arguments.csv, arguments.profile)):
        check_new(out)

    import torch

    from .. import register
    from ..benchmark.candidates import find, with_folded
    from ..benchmark.machine import machine_name
    from ..benchmark.peers import need_mmdet
    from ..benchmark.plan import Plan, Shape
    from ..benchmark.profiling import profile_by_kernel
    from ..benchmark.results import csv_row, print_results, write_csv
    from ..benchmark.session import measure_shape

    register()
    plan = Plan(arguments.mode, arguments.device, arguments.dtype, arguments.compile, arguments.detector)
    if plan.detector:
        need_mmdet('--detector')
    standard = DETECTOR_SHAPES[plan.mode] if plan.detector else SHAPES[plan.device, plan.mode]
    shapes = list(dict.fromkeys(Shape.parse(text) for text in arguments.shapes or standard))
    models = arguments.models or MODELS[plan.device]
    if arguments.fold:
        models = [form for name in models for form in with_folded(name)]
    peers = list(dict.fromkeys(PEERS[plan.device] if arguments.against is None else arguments.against))
    candidates = [find(name, plan) for name in dict.fromkeys([*models, *peers])]

    machine = machine_name(plan.device)
    print(f'{machine}, torch {torch.__version__}, {plan}')
    failed = written = False
    with tempfile.TemporaryDirectory() as folder:
        if plan.compiled:  # into an empty cache, or the seconds would be those of an earlier call
            os.environ['TORCHINDUCTOR_CACHE_DIR'] = folder
        for shape in shapes:
            outcome = measure_shape(candidates, shape, plan, arguments.runs)
            print(f'\n{shape}')
            for name, why in outcome.failed.items():
                print(f'  {name} failed and is left out: {why}')
            results = outcome.results
            if results:
                print_results(results, peers, plan)
            if results and arguments.csv:
                peer = next((results[name] for name in peers if name in results), None)
                rows = [csv_row(r, peer if r is not peer else None, plan, machine) for r in results.values()]
                write_csv(arguments.csv, rows, more=written)
                written = True
            if outcome.stopped:
                rounds = len(next(iter(results.values())).seconds) if results else 0
                print(f'  stopped after {rounds} of {arguments.runs} rounds')
                return 130
            if arguments.profile:
                with arguments.profile.open('a') as file:
                    for candidate in candidates:
                        if candidate.name in results:
                            file.write(profile_by_kernel(candidate, shape, plan) + '\n')
            sys.stdout.flush()  # a shape may take an hour, and a log is read meanwhile
            failed |= bool(outcome.failed)
            if plan.compiled:
                torch.compiler.reset()  # what was compiled for this shape counts against the limit for the next
    return int(failed)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Parser(program, __doc__)
    parser.add_argument('--models', nargs='+', metavar='NAME', help=f'{NAMES}. {_defaults(MODELS)}')
    parser.add_argument(
        '--against',
        nargs='*',
        metavar='NAME',
        help=f'what all models are compared to, in the CSV file to the first; no NAME: nothing. {_defaults(PEERS)}',
    )
    parser.add_argument('--shapes', nargs='+', metavar='BxHxW', help='of the input, such as 8x224x224')
    parser.add_argument('--mode', choices=('infer', 'train'), default='infer', help='train: forward and backward')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--dtype', choices=('fp32', 'bf16'), default='fp32', help='bf16: autocast')
    parser.add_argument('--compile', action='store_true', help='torch.compile, for each shape anew')
    parser.add_argument('--detector', action='store_true', help='Mask R-CNN with each candidate as its backbone')
    parser.add_argument('--fold', action='store_true', help='also measure each own model as ss_backbones.fold makes it')
    parser.add_argument('--runs', type=int, default=15, help='timed runs of each candidate; default 15')
    parser.add_argument('--csv', type=Path, metavar='FILE', help="a new file for a table with the columns of timm's")
    parser.add_argument('--profile', type=Path, metavar='FILE', help='a new file for the time of every kernel')
    return parser


def _defaults(names: Mapping[str, Sequence[str]]) -> str:
    return f'Default: {" ".join(names["cpu"])}; on CUDA {" ".join(names["cuda"])}'
