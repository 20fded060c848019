"""Times backbones, or whole detectors, against each other: run by run in turn, in one process, medians and their ratio.

    python tools/benchmark.py
    python tools/benchmark.py --mode train --csv train.csv
    python tools/benchmark.py --models b2 b2:uniform --against timm:pvt_v2_b2 mmdet:PVTv2-b2 --shapes 1x800x1344
    python tools/benchmark.py --models b0 vit-tiny --against timm:convnext_tiny timm:swin_tiny_patch4_window7_224
    python tools/benchmark.py --detector --against timm:pvt_v2_b0 mmdet:PVTv2-b0

Peak memory is that of each contestant in a process of its own. The share is that of the rate of multiply-adds which a
large matrix product reached beside it; a training step counts as three forward passes.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too
sys.path.insert(0, str(Path(__file__).resolve().parent))  # the folder benchmarking lies here

import torch
from ..benchmark.candidates import NAMES, check, with_folded
from ..benchmark.files import check_new
from ..benchmark.machine import machine_name
from ..benchmark.plan import Plan, Shape
from ..benchmark.results import append_csv, csv_row, table
from ..benchmark.session import Outcome, measure_shape

MODELS = {'cpu': ['b0', 'b0:uniform'], 'cuda': ['b2', 'b2:uniform']}
PEERS = {'cpu': ['timm:pvt_v2_b0'], 'cuda': ['timm:pvt_v2_b2']}
SHAPES = {
    ('cpu', 'infer'): ['8x224x224', '1x800x1344'],
    ('cpu', 'train'): ['2x512x512'],
    ('cuda', 'infer'): ['256x224x224', '1x800x1344'],
    ('cuda', 'train'): ['2x800x1344'],
}
DETECTOR_SHAPES = {'infer': ['1x800x1344'], 'train': ['2x512x512']}


def main() -> int:
    """0, 1 if a contestant failed, 130 after Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args()
    try:
        plan, names, peers, shapes = _checked(arguments)
    except ValueError as error:
        parser.error(f'{error}.')
    machine = machine_name(plan.device)
    print(f'{machine}, torch {torch.__version__}, {plan}')
    failed = False
    with _own_compile_cache(plan.compiled):
        for shape in shapes:
            outcome = measure_shape(names, shape, plan, arguments.runs)
            _report(outcome, shape, peers, plan, arguments.runs)
            if arguments.csv and outcome.results:
                peer = next((outcome.results[name] for name in peers if name in outcome.results), None)
                rows = [csv_row(r, peer if r is not peer else None, plan, machine) for r in outcome.results.values()]
                append_csv(arguments.csv, rows)
            if outcome.stopped:
                return 130
            failed |= bool(outcome.failed)
            if plan.compiled:
                torch.compiler.reset()  # what was compiled for this shape counts against the limit for the next
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument('--detector', action='store_true', help='Mask R-CNN with each contestant as its backbone')
    parser.add_argument('--fold', action='store_true', help='also measure each own model as ss_backbones.fold makes it')
    parser.add_argument('--runs', type=int, default=15, help='timed runs of each contestant; default 15')
    parser.add_argument('--csv', type=_file, metavar='FILE', help="a new file for a table with the columns of timm's")
    return parser


def _defaults(names: Mapping[str, Sequence[str]]) -> str:
    return f'Default: {" ".join(names["cpu"])}; on CUDA {" ".join(names["cuda"])}'


def _file(text: str) -> Path:
    if not text:  # which Path takes for the current folder
        raise argparse.ArgumentTypeError('the name is empty; give that of a new file, such as benchmark.csv')
    return Path(text)


def _checked(arguments: argparse.Namespace) -> tuple[Plan, list[str], list[str], list[Shape]]:
    """What to do, all contestants, those to compare to, and the shapes.

    Raises:
        ValueError: Something cannot be measured; the text says what and why.
    """
    plan = Plan(arguments.mode, arguments.device, arguments.dtype, arguments.compile, arguments.detector)
    if plan.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device cuda: no CUDA device is available here; leave it out to measure the CPU')
    if arguments.runs < 1:
        raise ValueError(f'--runs {arguments.runs}: at least one run is needed')
    if arguments.csv:
        check_new(arguments.csv)
    if plan.detector and importlib.util.find_spec('mmdet') is None:
        raise ValueError('--detector needs mmdet, which is not installed. Install it as the README says')
    standard = DETECTOR_SHAPES[plan.mode] if plan.detector else SHAPES[plan.device, plan.mode]
    shapes = list(dict.fromkeys(Shape.parse(text) for text in arguments.shapes or standard))
    models = arguments.models or MODELS[plan.device]
    if arguments.fold:
        models = [form for name in models for form in with_folded(name)]
    peers = list(dict.fromkeys(PEERS[plan.device] if arguments.against is None else arguments.against))
    names = list(dict.fromkeys([*models, *peers]))
    for name in names:
        check(name, plan)
    return plan, names, peers, shapes


def _report(outcome: Outcome, shape: Shape, peers: Sequence[str], plan: Plan, runs: int) -> None:
    results = outcome.results
    print(f'\n{shape}')
    for name, why in outcome.failed.items():
        print(f'  {name} failed and is left out: {why}')
    if results:
        print(table(results, peers, plan))
        print(f'  the machine: {next(iter(results.values())).peaks}')
    if outcome.stopped:
        rounds = len(next(iter(results.values())).seconds) if results else 0
        print(f'  stopped after {rounds} of {runs} rounds')
    sys.stdout.flush()


@contextmanager
def _own_compile_cache(compiled: bool) -> Iterator[None]:
    """An empty cache for torch.compile, or its seconds would be those of an earlier call."""
    if not compiled:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ['TORCHINDUCTOR_CACHE_DIR'] = folder
        yield


if __name__ == '__main__':
    sys.exit(main())
