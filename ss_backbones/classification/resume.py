"""Finds the checkpoint to go on from."""

import logging
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..checkpoint_files import CheckpointError, read_checkpoint

_PATTERNS = ('epoch_*.pth', 'iter_*.pth', 'preempted.pth')  # not best_*.pth, which have no optimiser


def checkpoints_in(work_dir: str) -> list[Path]:
    """The checkpoints of a run that can be gone on from, the newest first."""
    found = [path for pattern in _PATTERNS for path in Path(work_dir).glob(pattern)]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def newest_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint that can be read, the same for all processes; None where there is none at all.

    A run that is killed while it writes leaves half a file: that one is named in a warning, and the one before taken.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    found: list[str | None] = [None]
    problem: list[str | None] = [None]
    if is_main_process():
        found[0], problem[0] = _newest(work_dir)
    broadcast_object_list(found)
    broadcast_object_list(problem)
    if problem[0]:
        raise CheckpointError(problem[0])
    return found[0]


def _newest(work_dir: str) -> tuple[str | None, str | None]:
    broken = []
    for path in checkpoints_in(work_dir):
        try:
            read_checkpoint(str(path))
        except CheckpointError as error:
            broken.append(path.name)
            print_log(f'{error} Going on from the one before.', logger='current', level=logging.WARNING)
        else:
            return str(path), None
    if broken:
        return None, (
            f'{work_dir}: none of the checkpoints can be read ({", ".join(broken)}). Remove them to begin anew.'
        )
    return None, None
