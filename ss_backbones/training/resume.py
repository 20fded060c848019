"""Finds the checkpoint to go on from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from timm.utils.misc import natural_key

from ..checkpoints.files import read_checkpoint
from ..errors import CheckpointError, UsageError

# The families of checkpoints, each numbered; not best_*.pth, which have no optimiser.
_FAMILIES = ('epoch_*.pth', 'iter_*.pth', 'preempted.pth')
LENGTH = 'epoch_length'  # where checkpoints of trainings by epochs hold an epoch's batches, so that a change is seen


def checkpoints_in(work_dir: str) -> list[Path]:
    """The checkpoints of a run that can be gone on from; in each family the one with the highest number first."""
    return [
        path
        for family in _FAMILIES
        for path in sorted(Path(work_dir).glob(family), key=lambda path: natural_key(path.name), reverse=True)
    ]


@dataclass(frozen=True)
class Standing:
    """Where the training of a checkpoint stood: iterations that were done, its file, and the seed of the run.

    ``by_epoch`` is whether it counted epochs; None where the checkpoint does not tell.
    """

    iteration: int
    path: str
    seed: int | None
    by_epoch: bool | None


def standing_of(checkpoint: Mapping[str, object], path: str) -> Standing:
    """Where the training of a checkpoint stood.

    Args:
        checkpoint: What the file holds.
        path: The file.

    Raises:
        CheckpointError: A training cannot go on from it: it has weights alone, or its other parts are no states.
    """
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    absent = [key for key in ('meta', 'message_hub', 'optimizer') if not isinstance(checkpoint.get(key), Mapping)]
    begin = f'To begin a new run from its weights, without --resume: --work-dir DIR --cfg-options load_from={path}'
    if absent:
        weights = not any(checkpoint.get(key) is not None for key in absent)
        raise CheckpointError(
            f'A training cannot go on from {path}: '
            + ('it has weights, and ' if weights else '')
            + f'no state of a training under {", ".join(absent)}. {begin} (or model.backbone.init_cfg, for those of a '
            'backbone alone).'
        )
    for key in ('iter', 'epoch'):
        if type(meta.get(key)) is not int or meta[key] < 0:
            raise CheckpointError(
                f'A training cannot go on from {path}: its meta has {key}={meta.get(key)!r}, expected the number of '
                f'those that were done. {begin}'
            )
    seed, info = meta.get('seed'), hub.get('runtime_info')
    if seed is not None and type(seed) is not int:
        raise CheckpointError(f'A training cannot go on from {path}: its seed is {seed!r}, expected a number. {begin}')
    if not all(isinstance(hub.get(key), Mapping) for key in ('log_scalars', 'runtime_info', 'resumed_keys')):
        raise CheckpointError(f'A training cannot go on from {path}: its message_hub is none of mmengine. {begin}')
    epochs = info.get('max_epochs')  # mmengine has 1 where iterations are counted
    by_epoch = LENGTH in info or meta['epoch'] > 0 or (epochs > 1 if type(epochs) is int else None)
    return Standing(meta['iter'], path, seed, by_epoch)


def check_kind(standing: Standing, by_epoch: bool) -> None:
    """Whether a training and the one that a checkpoint is of count the same.

    Args:
        standing: Of the checkpoint.
        by_epoch: Whether the training counts epochs.

    Raises:
        CheckpointError: One counts epochs and the other iterations.
    """
    if standing.by_epoch is None or standing.by_epoch == by_epoch:
        return
    here, there = ('epochs', 'iterations')[:: 1 if by_epoch else -1]
    raise CheckpointError(
        f'{standing.path} is of a training that counts {there}, and the config counts {here} (train_cfg): its '
        'learning rate and schedule cannot go on. Take the config that it was trained with, or begin a new run from '
        f'its weights, without --resume: --work-dir DIR --cfg-options load_from={standing.path}'
    )


def newest_checkpoint(work_dir: str) -> Standing | None:
    """The newest checkpoint that can be read, the same for all processes; None where there is none at all.

    A run that is killed while it writes leaves half a file: that one is named in a warning, and the one before taken.
    mmengine's file ``last_checkpoint`` is not asked, as it may be as broken.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    found: list[Standing | None] = [None]
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


def _newest(work_dir: str) -> tuple[Standing | None, str | None]:
    broken, readable = [], {}
    for path in checkpoints_in(work_dir):
        family = path.name.partition('_')[0]
        if family in readable:
            continue
        try:
            # files that were copied may have any date, so what counts is how far the training was
            readable[family] = standing_of(read_checkpoint(str(path)), str(path))
        except CheckpointError as error:
            broken.append(path.name)
            print_log(f'{error} Going on from the one before.', logger='current', level=logging.WARNING)
    if readable:
        return max(readable.values(), key=lambda newest: newest.iteration), None
    if broken:
        return None, (
            f'{work_dir}: none of the checkpoints can be read ({", ".join(broken)}). Remove them to begin anew.'
        )
    return None, None
