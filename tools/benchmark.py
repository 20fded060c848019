"""Times backbones against each other: run by run in turn, in one process, medians and their ratio.

python tools/benchmark.py
python tools/benchmark.py --models b2 b2:uniform --against timm:pvt_v2_b2 timm:convnext_tiny --shapes 1x800x1344

An own model is an arch of SSPVTv2, with ':uniform' for its plain twin; what it returns is what a detector gets. A peer
is 'timm:' and a name, with features_only.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

from ss_backbones import SSPVTv2
from ss_backbones.complexity import complexity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=['b0', 'b0:uniform'], metavar='ARCH[:uniform]')
    parser.add_argument('--against', nargs='+', default=['timm:pvt_v2_b0'], metavar='timm:NAME')
    parser.add_argument('--shapes', nargs='+', type=_shape, default=[(8, 224, 224), (1, 800, 1344)], metavar='BxHxW')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--runs', type=int, default=15, help='timed runs of each model')
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f'--runs {arguments.runs}: at least one run is needed.')
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: no CUDA device is available here; leave it out to measure the CPU.')
    try:
        models = {name: _build(name).to(arguments.device).eval() for name in arguments.models + arguments.against}
    except ValueError as error:
        parser.error(str(error))
    print(f'{_machine(arguments.device)}, torch {torch.__version__}, float32, features only')
    for batch, height, width in arguments.shapes:
        x = torch.randn(batch, 3, height, width, device=arguments.device)
        times = measure(models, x, arguments.runs)
        print(f'\n{batch} x 3 x {height} x {width}')
        for name, seconds in times.items():
            macs = complexity(models[name], x.shape).macs / 1e9
            print(f'  {name:24} {statistics.median(seconds) * 1e3:9.1f} ms {macs:8.2f} GMACs', end='')
            for peer in arguments.against:
                if name != peer:
                    low, middle, high = quartiles(times[peer], seconds)
                    print(f'   {middle:.2f} times as fast as {peer} (quartiles {low:.2f} to {high:.2f})', end='')
            print()


def measure(models: dict[str, nn.Module], x: torch.Tensor, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each model; the models take turns, so that whatever slows the machine slows all."""
    wait: Callable[[], None] = torch.cuda.synchronize if x.is_cuda else lambda: None
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for run in range(-2, runs):  # two rounds to warm up
            for name, model in models.items():
                wait()
                start = time.perf_counter()
                model(x)
                wait()
                if run >= 0:
                    times[name].append(time.perf_counter() - start)
    return times


def quartiles(slower: list[float], faster: list[float]) -> tuple[float, float, float]:
    """The three quartiles of the ratio, round by round; the middle one is the median."""
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    if len(ratios) == 1:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return low, middle, high


def _build(name: str) -> nn.Module:
    if name.startswith('timm:'):
        peer = name.removeprefix('timm:')
        if not timm.is_model(peer):
            raise ValueError(f'{peer!r} is no timm model; perhaps {", ".join(timm.list_models(f"*{peer}*")[:5])}')
        return timm.create_model(peer, features_only=True)
    arch, _, settings = name.partition(':')
    return SSPVTv2(arch, settings or 'specific')


def _shape(text: str) -> tuple[int, int, int]:
    try:
        batch, height, width = (int(number) for number in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no BxHxW such as 1x800x1344') from None
    if min(batch, height, width) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: all three must be at least 1')
    return batch, height, width


def _machine(device: str) -> str:
    if device == 'cuda':
        return torch.cuda.get_device_name()
    names = [line.split(':')[1].strip() for line in _lines('/proc/cpuinfo') if line.startswith('model name')]
    return f'{names[0] if names else "CPU"}, {torch.get_num_threads()} threads'


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


if __name__ == '__main__':
    main()
