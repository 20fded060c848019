"""Peak memory of a contestant that has a process to itself."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

RUNS = 2  # from the second on, a training step finds its buffers as a long run does


class Failed(Exception):
    """A contestant cannot be run; the text says why, in one line."""


@dataclass(frozen=True)
class Alone:
    """What a contestant needs with a process to itself.

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
    """Prepare and run a contestant in a new process.

    Args:
        prepare: Makes what is to be run; it is called in that process, and must be picklable.
        device: 'cpu' or 'cuda'.

    Raises:
        Failed: It raised an error, or the process was killed, as systems do when memory runs out.
    """
    if device == 'cuda':
        torch.cuda.empty_cache()  # what this process holds and does not use is missing there
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, prepare, device, torch.get_num_threads()))
    # Ctrl-C reaches all processes of a terminal; this one ends the other by itself, and without a stack trace.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, before)
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        reason = ', most likely because memory ran out' if process.exitcode == -signal.SIGKILL else ''
        raise Failed(f'its process ended with code {process.exitcode}{reason}') from None
    finally:
        process.kill()
        process.join()
    if isinstance(found, str):
        raise Failed(found)
    return found


def explain(error: Exception) -> str:
    """An error of a network in one line."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'[:300]


def _run(sender: Connection, prepare: Callable[[], Callable[[], object]], device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        run = prepare()
        before = _held(device)
        start = time.perf_counter()
        run()
        if device == 'cuda':
            torch.cuda.synchronize()
        first_run = time.perf_counter() - start
        for _ in range(RUNS - 1):
            run()
        sender.send(Alone(before, _most(device), first_run))
    except Exception as error:  # a network may fail in any way, and the others are still to be measured
        sender.send(explain(error))


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
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(f'{field}:')]
    return kilobytes[0] * 1024 if kilobytes else None
