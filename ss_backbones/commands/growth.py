"""Measures how time and memory of each stage of SS-PVTv2 grow with the image, and draws them in one picture.

    python tools/growth.py growth.png
    python tools/growth.py growth.png --models b2 b2:uniform --sides 224 448 896 1792 --device cuda --csv growth.csv

Time: forward passes of one square image in float32 inference, the models in turn, medians. Memory: what a stage keeps
for the backward pass in training, beside its parameters. The exponents are those of the number of pixels, fitted by
least squares to the logarithms of all sides: 1 is linear, 2 quadratic.
"""

import argparse
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too
sys.path.insert(0, str(Path(__file__).resolve().parent))  # the folder benchmarking lies here

import torch
from ..benchmark.candidates import PVT_V2_ARCHS, check, split
from ..benchmark.files import check_new
from ..benchmark.machine import machine_name
from ..benchmark.memory import explain
from ..benchmark.plan import Plan, Shape
from ..benchmark.results import MIB, append_csv
from ..benchmark.steps import make_step
from ..benchmark.timing import WARM_UP, quartiles, rounds
from ..benchmark.growth_picture import LINES, draw, exponent
from ..benchmark.stages import StageClock, measure_saved
from tqdm import tqdm

SIDES = (224, 320, 448, 640, 896, 1280, 1792, 2048)
MODELS = ('b0', 'b0:uniform')


@dataclass
class Growth:
    """What was measured of a model: for each stage, by the image's side.

    Args:
        seconds: The quartiles; the middle one is the median.
        saved: Bytes.
    """

    seconds: list[dict[int, tuple[float, float, float]]] = field(default_factory=lambda: [{} for _ in range(4)])
    saved: list[dict[int, int]] = field(default_factory=lambda: [{} for _ in range(4)])

    def times(self) -> list[dict[int, float]]:
        """The medians in ms."""
        return [{side: middle * 1e3 for side, (_, middle, _) in stage.items()} for stage in self.seconds]

    def memory(self) -> list[dict[int, float]]:
        """In MiB."""
        return [{side: size / MIB for side, size in stage.items()} for stage in self.saved]


def main() -> int:
    """0, 1 if something could not be measured, 130 after Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args()
    try:
        plan = _checked(arguments)
    except ValueError as error:
        parser.error(f'{error}.')
    names, sides = list(dict.fromkeys(arguments.models)), sorted(set(arguments.sides))
    machine = machine_name(plan.device)
    print(f'{machine}, torch {torch.__version__}, one image, float32')
    growths, failed, stopped = {name: Growth() for name in names}, [], False
    try:
        failed = measure(growths, sides, plan, arguments.runs)
    except KeyboardInterrupt:
        stopped = True
    growths = {name: growth for name, growth in growths.items() if growth.saved[0] or growth.seconds[0]}
    if growths:
        print(f'\nexponents over the number of pixels\n{_table(growths)}')
        if arguments.csv:
            append_csv(arguments.csv, _rows(growths, arguments.runs, plan.device, machine))
        panels = {
            'time of a forward pass, ms': {name: growth.times() for name, growth in growths.items()},
            'kept for the backward pass, MiB': {name: growth.memory() for name, growth in growths.items()},
        }
        draw(panels, f'one image, float32; {machine}, torch {torch.__version__}', arguments.out)
        print(f'{arguments.out}: {" and ".join(growths)}')
    if stopped:
        print('stopped; what had been measured is there')
        return 130
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, metavar='OUT.png', help='the picture, a new file')
    parser.add_argument(
        '--models',
        nargs='+',
        default=MODELS,
        metavar='ARCH[:uniform]',
        help=f"{', '.join(PVT_V2_ARCHS)}; ':uniform' is the plain twin. Default: {' '.join(MODELS)}",
    )
    parser.add_argument('--sides', nargs='+', type=int, default=SIDES, help=f'default: {" ".join(map(str, SIDES))}')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--runs', type=int, default=5, help='timed runs of each model at each side; default 5')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write the figures as well; a new file')
    return parser


def _checked(arguments: argparse.Namespace) -> Plan:
    """How the models are timed.

    Raises:
        ValueError: Something cannot be measured or written; the text says what and why.
    """
    plan = Plan(device=arguments.device)
    if plan.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device cuda: no CUDA device is available here; leave it out to measure the CPU')
    if arguments.runs < 1:
        raise ValueError(f'--runs {arguments.runs}: at least one run is needed')
    if min(arguments.sides) < 1 or len(set(arguments.sides)) < 2:
        given = ' '.join(map(str, arguments.sides))
        raise ValueError(f'--sides {given}: at least two different ones are needed for an exponent, all 1 or more')
    for name in arguments.models:
        network, options = split(name)
        if network not in PVT_V2_ARCHS or set(options) - {'uniform'}:
            raise ValueError(
                f'{name!r}: the stages that are measured are those of SSPVTv2. Possible are {", ".join(PVT_V2_ARCHS)}, '
                "each with ':uniform' for its plain twin"
            )
        check(name, plan)
    if len(set(arguments.models)) > len(LINES):
        raise ValueError(f'{len(set(arguments.models))} models are too many for one picture; take up to {len(LINES)}')
    if arguments.out.suffix != '.png':
        raise ValueError(f'{arguments.out} does not end in .png')
    if arguments.csv and arguments.csv.resolve() == arguments.out.resolve():
        raise ValueError(f'{arguments.out} cannot be both the picture and the CSV file')
    for file in filter(None, (arguments.out, arguments.csv)):
        check_new(file)
    return plan


def measure(growths: dict[str, Growth], sides: Sequence[int], plan: Plan, count: int) -> list[str]:
    """Fill in what can be measured, the small sides first.

    Returns:
        What could not, in words. What has failed at a side is not tried at larger ones.
    """
    failed: list[str] = []
    to_time, to_weigh = list(growths), list(growths)
    total = len(sides) * (len(growths) + WARM_UP + count)
    pool = _new_pool()
    with tqdm(total=total, disable=None, leave=False) as bar:  # without a terminal it would fill a log
        for side in sides:
            shape = Shape(1, side, side)
            bar.set_description(str(shape))
            if not sys.stderr.isatty():
                print(f'measuring {shape} ...', file=sys.stderr, flush=True)
            for name in list(to_weigh):
                with _left_out(f'memory of {name} from side {side} on', failed, to_weigh, name):
                    found = pool.submit(measure_saved, name, shape, Plan('train', plan.device)).result()
                    for stage, size in zip(growths[name].saved, found, strict=True):
                        stage[side] = size
                if name not in to_weigh:  # and the process with it, perhaps
                    pool.shutdown()
                    pool = _new_pool()
                bar.update()
            clocks = _time(to_time, shape, plan, count, failed, bar)
            for name, clock in clocks.items():
                for stage, seconds in zip(growths[name].seconds, zip(*clock.laps, strict=True), strict=True):
                    stage[side] = quartiles(seconds)
    pool.shutdown()
    return failed


def _time(
    names: list[str], shape: Shape, plan: Plan, count: int, failed: list[str], bar: tqdm
) -> dict[str, StageClock]:
    """The clocks of the models that could be run, after ``count`` rounds in turn; the others leave ``names``."""
    steps, clocks = {}, {}
    for name in list(names):
        with _left_out(f'time of {name} from side {shape.height} on', failed, names, name):
            steps[name] = make_step(name, shape, plan)
            for _ in range(WARM_UP):
                steps[name].run()
            clocks[name] = StageClock(steps[name].model, plan.wait)
    bar.update(WARM_UP)
    for _ in rounds({name: steps[name].run for name in clocks}, count, plan.wait):
        bar.update()
    return clocks


def _new_pool() -> ProcessPoolExecutor:
    """A process beside this one: a system that runs out of memory ends it, and not what has been measured."""
    # Ctrl-C reaches all processes of a terminal; that one is ended by this one, and without a stack trace
    quiet = {'initializer': signal.signal, 'initargs': (signal.SIGINT, signal.SIG_IGN)}
    return ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), **quiet)


@contextmanager
def _left_out(what: str, failed: list[str], names: list[str], name: str) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        reason = 'its process ended, most likely because memory ran out'
    except (RuntimeError, MemoryError) as error:  # of torch, which has an own kind for CUDA alone
        reason = explain(error)
    else:
        return
    names.remove(name)
    failed.append(f'{what} is left out: {reason}')
    tqdm.write(failed[-1], file=sys.stderr)


def _table(growths: dict[str, Growth]) -> str:
    width = max(len(name) for name in growths)
    lines = [f'  {"":{width}} {"":8}' + ''.join(f'{f"stage {i}":>9}' for i in range(1, 5))]
    for name, growth in growths.items():
        for what, stages in (('time', growth.times()), ('memory', growth.memory())):
            found = [exponent(stage) for stage in stages]
            cells = ''.join(f'{"-" if a is None else f"{a:.2f}":>9}' for a in found)
            lines.append(f'  {name:{width}} {what:8}{cells}')
    return '\n'.join(lines)


def _rows(growths: dict[str, Growth], runs: int, device: str, machine: str) -> list[dict[str, object]]:
    """One for each model, stage and side; empty where a measurement was left out."""
    rows = []
    for name, growth in growths.items():
        for i, (seconds, times, memory) in enumerate(zip(growth.seconds, growth.times(), growth.memory(), strict=True)):
            exponents = [exponent(values) for values in (times, memory)]
            for side in sorted(times.keys() | memory.keys()):
                low, middle, high = (round(s * 1e3, 4) for s in seconds[side]) if side in seconds else [None] * 3
                rows.append(
                    {
                        'model': name,
                        'stage': i + 1,
                        'side': side,
                        'time_ms': middle,
                        'time_low_ms': low,
                        'time_high_ms': high,
                        'saved_mib': round(memory[side], 3) if side in memory else None,
                        'time_exponent': exponents[0] and round(exponents[0], 3),
                        'saved_exponent': exponents[1] and round(exponents[1], 3),
                        'runs': runs,
                        'device': device,
                        'machine': machine,
                        'torch': torch.__version__,
                    }
                )
    return rows


if __name__ == '__main__':
    sys.exit(main())
