"""Finds the checkpoint to go on from."""

import logging
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from timm.utils.misc import natural_key
from torch import nn

from ..checkpoints.activations import activations_in, other_activations
from ..checkpoints.files import CheckpointError, read_checkpoint

# The families of checkpoints, each numbered; not best_*.pth, which have no optimiser.
_FAMILIES = ('epoch_*.pth', 'iter_*.pth', 'preempted.pth')


def checkpoints_in(work_dir: str) -> list[Path]:
    """The checkpoints of a run that can be gone on from; in each family the one with the highest number first."""
    return [
        path
        for family in _FAMILIES
        for path in sorted(Path(work_dir).glob(family), key=lambda path: natural_key(path.name), reverse=True)
    ]


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
    broken, readable = [], {}
    for path in checkpoints_in(work_dir):
        family = path.name.partition('_')[0]
        if family in readable:
            continue
        try:
            # files that were copied may have any date, so what counts is how far the training was
            readable[family] = int(read_checkpoint(str(path))['meta']['iter']), str(path)
        except CheckpointError as error:
            broken.append(path.name)
            print_log(f'{error} Going on from the one before.', logger='current', level=logging.WARNING)
        except (KeyError, TypeError) as error:
            broken.append(path.name)
            print_log(f'{path} is no checkpoint of a training ({error!r}).', logger='current', level=logging.WARNING)
    if readable:
        return max(readable.values())[1], None
    if broken:
        return None, (
            f'{work_dir}: none of the checkpoints can be read ({", ".join(broken)}). Remove them to begin anew.'
        )
    return None, None


def check_network(model: nn.Module, path: str) -> None:
    """Whether a checkpoint is of this very model; mmengine would load what fits and fail in the optimiser.

    Raises:
        CheckpointError: It is not.
    """
    ours, theirs = model.state_dict(), read_checkpoint(path)['state_dict']
    odd = [key for key in sorted(ours.keys() | theirs.keys()) if key not in ours or key not in theirs]
    odd += [key for key in ours if key in theirs and ours[key].shape != theirs[key].shape]
    if odd:
        raise CheckpointError(
            f'{path} is of another network than the config: {len(odd)} tensors are in one of them alone or differ in '
            f'shape, such as {odd[0]}. Take the config that it was trained with, or another --work-dir.'
        )
    if others := other_activations(activations_in(theirs), model):
        raise CheckpointError(
            f'{path} was trained with other activations than the config has: {others[0]}. Take the config that it was '
            'trained with, or another --work-dir.'
        )
