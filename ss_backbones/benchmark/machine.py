"""The machine's name, what it can do at best, and whether it does something else meanwhile."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .plan import Plan

TRIES = 5
SIDE = {'cpu': 2048, 'cuda': 8192}  # of the matrices
NUMBERS = {'cpu': 2**26, 'cuda': 2**28}  # float32 ones to copy: 256 MiB and 1 GiB, beyond every cache


@dataclass(frozen=True)
class Peaks:
    """The fastest of a few tries.

    Args:
        macs: Multiply-adds a second of a large matrix product, in the dtype that is measured.
        bytes: Bytes a second of a large copy, those read and those written.
    """

    macs: float
    bytes: float

    def best(self, other: 'Peaks') -> 'Peaks':
        return Peaks(max(self.macs, other.macs), max(self.bytes, other.bytes))

    def __str__(self) -> str:
        return f'{self.macs / 1e9:.0f} GMAC/s in a large matrix product, {self.bytes / 1e9:.1f} GB/s in a large copy'


def measure_peaks(plan: Plan) -> Peaks:
    side, numbers = SIDE[plan.device], NUMBERS[plan.device]
    dtype = torch.bfloat16 if plan.dtype == 'bf16' and not plan.detector else torch.float32
    a, b = (torch.randn(side, side, device=plan.device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.ones(numbers, device=plan.device)
    target = torch.empty_like(source)
    with torch.inference_mode():
        return Peaks(
            macs=side**3 / _fastest(lambda: torch.mm(a, b, out=product), plan.wait),
            bytes=2 * source.nbytes / _fastest(lambda: target.copy_(source), plan.wait),
        )


def _fastest(run: Callable[[], object], wait: Callable[[], None]) -> float:
    seconds = []
    for _ in range(TRIES + 1):  # the first warms up
        wait()
        start = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def machine_name(device: str) -> str:
    if device == 'cuda':
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return f'{names[0] if names else "CPU"}, {threads} thread{"s" * (threads > 1)}'


def processor_time() -> tuple[float, float]:
    """Seconds that other processes have had of the processors, and seconds of them all, since the machine started.

    Both are 0 where the system does not tell.
    """
    stat = Path('/proc/stat')
    if not stat.exists():
        return 0.0, 0.0
    seconds = [int(word) / os.sysconf('SC_CLK_TCK') for word in stat.read_text().split()[1:9]]
    idle = seconds[3] + seconds[4]  # the rest is work, interrupts, and what a virtual machine was not given
    return sum(seconds) - idle - time.process_time(), sum(seconds)


def busy_share(before: tuple[float, float]) -> float | None:
    """The part of all processors' time that other processes have had since a :func:`processor_time`, if it is known."""
    others, total = (now - then for now, then in zip(processor_time(), before, strict=True))
    return min(1.0, max(0.0, others / total)) if total > 0 else None
