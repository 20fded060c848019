"""Finds the checkpoint to go on from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from timm.utils.misc import natural_key

from ..checkpoints.files import read_checkpoint
from ..errors import CheckpointError, UsageError

# The families of checkpoints, each numbered; not best_*.pth, which have no optimiser.
_FAMILIES = ('epoch_*.pth', 'iter_*.pth', 'preempted.pth')


def checkpoints_in(work_dir: str) -> list[Path]:
    """The checkpoints of a run that can be gone on from; in each family the one with the highest number first."""
    return [
        path
        for family in _FAMILIES
        for path in sorted(Path(work_dir).glob(family), key=lambda path: natural_key(path.name), reverse=True)
    ]


@dataclass(frozen=True)
class Newest:
    """A checkpoint to go on from: how far its training was, in iterations, its file, and the seed of the run."""

    iteration: int
    path: str
    seed: int | None


def newest_checkpoint(work_dir: str) -> Newest | None:
    """The newest checkpoint that can be read, the same for all processes; None where there is none at all.

    A run that is killed while it writes leaves half a file: that one is named in a warning, and the one before taken.
    mmengine's file ``last_checkpoint`` is not asked, as it may be as broken.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    found: list[Newest | None] = [None]
    problem: list[str | None] = [None]
    if is_main_process():
        found[0], problem[0] = _newest(work_dir)
    broadcast_object_list(found)
    broadcast_object_list(problem)
    if problem[0]:
        raise CheckpointError(problem[0])
    return found[0]


def check_unused(work_dir: str) -> None:
    """Whether a new run can have this work dir.

    Raises:
        UsageError: There are checkpoints of an earlier run.
    """
    there = checkpoints_in(work_dir)
    if there:
        raise UsageError(
            f'{work_dir} has checkpoints of an earlier run ({there[0].name}). Go on from there with --resume, '
            'or take another place with --work-dir DIR.'
        )


def last_good(work_dir: str) -> str:
    """Where the last checkpoint is, in a sentence."""
    newest = _latest(work_dir)
    return f'The last checkpoint is {newest}.' if newest else 'There is no checkpoint yet.'


def how_to_go_on(work_dir: str) -> str:
    """What to say after a training was stopped."""
    newest = _latest(work_dir)
    return f'--resume goes on from {newest}' if newest else f'There is no checkpoint in {work_dir} to go on from'


def _latest(work_dir: str) -> Path | None:
    return max(checkpoints_in(work_dir), key=lambda path: path.stat().st_mtime, default=None)


def _newest(work_dir: str) -> tuple[Newest | None, str | None]:
    broken, readable = [], {}
    for path in checkpoints_in(work_dir):
        family = path.name.partition('_')[0]
        if family in readable:
            continue
        try:
            # files that were copied may have any date, so what counts is how far the training was
            meta = read_checkpoint(str(path))['meta']
            readable[family] = Newest(int(meta['iter']), str(path), meta.get('seed'))
        except CheckpointError as error:
            broken.append(path.name)
            print_log(f'{error} Going on from the one before.', logger='current', level=logging.WARNING)
        except (AttributeError, KeyError, TypeError) as error:
            broken.append(path.name)
            print_log(f'{path} is no checkpoint of a training ({error!r}).', logger='current', level=logging.WARNING)
    if readable:
        return max(readable.values(), key=lambda newest: newest.iteration), None
    if broken:
        return None, (
            f'{work_dir}: none of the checkpoints can be read ({", ".join(broken)}). Remove them to begin anew.'
        )
    return None, None
