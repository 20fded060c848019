"""One training at a time in a work dir."""

import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from ..errors import UsageError

_FILE = '.lock'


def lock(work_dir: str) -> TextIO | None:
    """Keep other processes' trainings out of a work dir, for as long as the file that is returned is open.

    The system takes the lock away when the process ends, in whatever way. A file system without locks has none.

    Raises:
        UsageError: Another process trains there.
    """
    try:
        file = Path(work_dir, _FILE).open('a+')  # noqa: SIM115, it is to stay open
    except OSError:  # the folder cannot be written to: said by whoever writes there
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        who = file.read().strip() or 'another process'
        raise UsageError(
            f'{work_dir}: {who} is training there. Take another place with --work-dir DIR, or wait for it.'
        ) from error
    except OSError:
        return file
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    return file
