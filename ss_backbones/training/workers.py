"""What the processes that read data begin with, and how they end."""

import atexit
import multiprocessing
import signal

from ..registry import FUNCTIONS


@FUNCTIONS.register_module()
def start_worker(worker_id: int) -> None:
    """Leaves a worker the seeds that torch gives it, and makes it deaf to the signals of :class:`PreemptionHook`.

    mmengine's own start of a worker would give it the same seeds in every epoch. Clusters and terminals send their
    signals to every process, and a worker that ends takes the training down before it has written its checkpoint.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # the second one may be from the training itself, which ends workers so where all else has failed
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


@atexit.register
def _end_workers() -> None:
    """End the workers that are left when Python ends, for example those that a loader keeps from epoch to epoch.

    multiprocessing would send them one SIGTERM, to which they are deaf, and wait for ever. This comes before that, as
    what is registered later is called earlier.
    """
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own would call it an error
    for worker in workers:
        worker.kill()
