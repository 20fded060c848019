"""What runs in a process of its own, on a CPU: for the memory it takes, and as one out of memory ends alone."""

import gc
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

import ss_backbones

RUNS = 2  # from the second on, a training step finds its buffers as a long run does
T = TypeVar('T')


class Failed(Exception):
    """A candidate cannot be run; the text says why, in one line."""


@dataclass(frozen=True)
class Alone:
    """What a candidate needs with a process to itself.

    Args:
        before: Bytes held when it was ready to run; on the CPU the process's resident set, with Python and torch in
            it, on CUDA what the allocator gave out: weights and input. None where the system does not tell.
        peak: The most bytes held up to the end of its runs.
        first_run: Seconds of the first run; with torch.compile the compilation is in it.
    """

    before: int | None
    peak: int | None
    first_run: float


def measure_alone(prepare: Callable[[], Callable[[], object]], device: str) -> Alone:
    """Prepare and run a candidate in a new process; on CUDA in this one, where memory that runs out is an error.

    Args:
        prepare: Makes what is to be run; it is called in that process, and must be picklable.
        device: 'cpu' or 'cuda'.

    Raises:
        Failed: See :func:`in_own_process`.
    """
    if device == 'cuda':
        gc.collect()  # of what was measured before
        torch.cuda.empty_cache()
        return next(_measure(prepare, device))
    return next(in_own_process(partial(_measure, prepare, device)))


def in_own_process(work: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What ``work`` yields in a new process, each as soon as it is there.

    Args:
        work: Must be picklable, and so must be what it yields.

    Raises:
        Failed: It raised an error, or the process was killed, as systems do when memory runs out.
    """
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_all, args=(sender, work, torch.get_num_threads()))
    # Ctrl-C reaches all processes of a terminal; this one ends the other by itself, and without a stack trace.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    sender.close()
    try:
        while (found := receiver.recv()) is not None:
            if isinstance(found, Failed):
                raise found
            yield found
    except EOFError:
        process.join()
        reason = ', most likely because memory ran out' if process.exitcode == -signal.SIGKILL else ''
        raise Failed(f'its process ended with code {process.exitcode}{reason}') from None
    finally:
        process.kill()
        process.join()


@contextmanager
def left_out(failed: dict[str, str], name: str) -> Iterator[None]:
    """Note why something fails, in one line, and go on: a network may fail in any way."""
    try:
        yield
    except Exception as error:
        failed[name] = explain(error)


def explain(error: Exception) -> str:
    """An error of a network in one line."""
    line = next(iter(str(error).strip().splitlines()), '')[:300]
    return line if isinstance(error, Failed) else f'{type(error).__name__}: {line}'


def _send_all(sender: Connection, work: Callable[[], Iterable[object]], threads: int) -> None:
    torch.set_num_threads(threads)
    ss_backbones.register()
    try:
        for found in work():
            sender.send(found)
    except Exception as error:  # a network may fail in any way, and the others are still to be measured
        sender.send(Failed(explain(error)))
    else:
        sender.send(None)


def _measure(prepare: Callable[[], Callable[[], object]], device: str) -> Iterator[Alone]:
    run = prepare()
    before = _held(device)
    start = time.perf_counter()
    run()
    if device == 'cuda':
        torch.cuda.synchronize()
    first_run = time.perf_counter() - start
    for _ in range(RUNS - 1):
        run()
    yield Alone(before, _most(device), first_run)


def _held(device: str) -> int | None:
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return _resident('VmRSS')


def _most(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device == 'cuda' else _resident('VmHWM')


def _resident(field: str) -> int | None:
    # Not getrusage: its maximum is handed on by the process that started this one.
    status = Path('/proc/self/status')
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f'{field}:')), None)
