"""torchrun for tools/dist_train.sh, which passes signals on to the processes and exits as they do.

torchrun by itself kills them 30 seconds after a SIGTERM, dies of a SIGUSR1, and makes a 1 of every exit code.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig
from torch.distributed.run import main

# Else torchrun takes SIGTERM too. One that is too old to be told does: it passes it on, there are 30 seconds for a
# checkpoint, and how the processes ended is not known.
LEAVE_SIGTERM = ['--signals-to-handle=SIGINT,SIGHUP,SIGQUIT'] if hasattr(LaunchConfig, 'signals_to_handle') else []


def pass_on(number: int, frame: FrameType | None) -> None:
    """Send a signal to the processes; exit where there are none yet."""
    lists = Path('/proc/self/task').glob('*/children')
    processes = [int(pid) for file in lists for pid in file.read_text().split()]
    if not processes:
        raise SystemExit(128 + number)
    for pid in processes:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGUSR1, pass_on)
    try:
        main([*LEAVE_SIGTERM, *sys.argv[1:]])
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        raise SystemExit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
