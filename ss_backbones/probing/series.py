"""The checkpoints of one training, in the order of time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.extraction import some
from .errors import ProbeError
from .reading import CONV, Checkpoint, read
from .record import Record, Snapshot
from .statistics import Floats, block_statistics, layer_weights


@dataclass(frozen=True)
class Series:
    """What was read of a training.

    Args:
        record: The statistics.
        kinds: Which weights each snapshot's are, in words.
        weights: Of GL1 and GL2 in the trained network, (H,) each, by block.
        has_conv: Whether its MLPs have a depthwise convolution.
    """

    record: Record
    kinds: tuple[str, ...]
    weights: Mapping[str, tuple[Floats, Floats]]
    has_conv: bool


def read_series(source: str, earlier: Sequence[str]) -> Series:
    """Read a training, from its start to its end.

    Args:
        source: The file of the trained network, or the folder of the training.
        earlier: Files of the same training, in the order of time if they do not name their epochs.

    Raises:
        ProbeError: A file has no complete and finite DFC, they are of different networks or in a wrong order, or the
            folder has no checkpoints.
        CheckpointError: A file cannot be read.
    """
    if not source.strip():
        raise ProbeError('CHECKPOINT is an empty text. Give a checkpoint file, or the folder of a training.')
    files = [*earlier, source]
    if Path(source).is_dir():
        if earlier:
            raise ProbeError(
                f'{source} is a folder, whose checkpoints are all taken; --earlier goes with a checkpoint file alone.'
            )
        files = _epochs_in(Path(source))
    if len({Path(file).resolve() for file in files}) < len(files):
        raise ProbeError(f'A checkpoint is given twice: {", ".join(files)}. Give each once.')
    found: list[tuple[Snapshot, str]] = []
    for file in files:  # one at a time, as each may be large
        checkpoint = read(file)
        if not found:
            first, shapes = file, checkpoint.shapes
        _check_same(checkpoint.shapes, file, shapes, first)
        blocks = tuple(block_statistics(name, block) for name, block in checkpoint.blocks.items())
        found.append((Snapshot(checkpoint.name, checkpoint.epoch, blocks), checkpoint.kind))
    last = found[-1][0]
    if all(shot.epoch is not None for shot, _ in found):
        found.sort(key=lambda item: item[0].epoch)
    if found[-1][0] is not last:
        raise ProbeError(
            f'{found[-1][0].checkpoint} is given as an earlier checkpoint and is of epoch {found[-1][0].epoch}, but '
            f'{last.checkpoint}, the trained network, is of epoch {last.epoch}. Give the latest as CHECKPOINT.'
        )
    return _series(checkpoint, found)


def _series(trained: Checkpoint, found: Sequence[tuple[Snapshot, str]]) -> Series:
    return Series(
        record=Record(trained.config, tuple(shot for shot, _ in found)),
        kinds=tuple(kind for _, kind in found),
        weights={name: layer_weights(block) for name, block in trained.blocks.items()},
        has_conv=any(CONV[0] in block for block in trained.blocks.values()),
    )


def _epochs_in(folder: Path) -> list[str]:
    """The checkpoints of mmengine's in a folder, by epoch."""
    files = {path: re.fullmatch(r'epoch_(\d+)', path.stem) for path in folder.glob('epoch_*.pth')}
    files = {path: int(match[1]) for path, match in files.items() if match}
    if not files:
        others = some(sorted(path.name for path in folder.glob('*.pth')))
        raise ProbeError(
            f'{folder} has no epoch_*.pth{f", but {others}" * bool(others)}. Give a folder with the checkpoints of a '
            'training, or a checkpoint file.'
        )
    return [str(path) for path in sorted(files, key=files.__getitem__)]


def _check_same(shapes: Mapping[str, object], file: str, first: Mapping[str, object], first_file: str) -> None:
    if shapes == first:
        return
    if shapes.keys() != first.keys():
        what = f'blocks {some(shapes)}, and {first_file} {some(first)}'
    else:
        name = next(name for name in shapes if shapes[name] != first[name])
        key = next(key for key in first[name] | shapes[name] if shapes[name].get(key) != first[name].get(key))
        what = f'{name}.{key} of {shapes[name].get(key)}, and {first_file} of {first[name].get(key)}'
    raise ProbeError(f'{file} and {first_file} are of different networks: {file} has {what}.')
