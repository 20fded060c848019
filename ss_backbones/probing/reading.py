"""The DFC layers in the checkpoints of one training, with everything checked that the statistics rely on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.extraction import extract, some, starts
from ..checkpoints.files import read_checkpoint
from ..errors import ProbeError
from ..layers import DfcMlp
from .record import Record, Snapshot
from .statistics import Floats, block_statistics, layer_weights

_IN_BLOCK = re.compile(r'^(|.*?\.)((?:stages\.\d+\.)?blocks\.\d+)\.(.+)$')
_EPOCH_NAME = re.compile(r'epoch_(\d+)\.pth')
Blocks = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Checkpoint:
    """What was read of one file.

    Args:
        snapshot: The statistics.
        config: The text of the config it was trained with, or None where the file has none.
        kind: Which weights these are, in words: the average, the raw weights, or the only ones.
        blocks: By the block's name, in the order of depth, the tensors by their keys in the block.
    """

    snapshot: Snapshot
    config: str | None
    kind: str
    blocks: Blocks


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
    found: list[tuple[Snapshot, str]] = []
    for file in (files := _files(source, earlier)):  # one at a time, as each may be large
        checkpoint = read(file)
        shapes = {name: {k: tuple(t.shape) for k, t in block.items()} for name, block in checkpoint.blocks.items()}
        if not found:
            first = shapes
        _check_same(shapes, file, first, files[0])
        found.append((checkpoint.snapshot, checkpoint.kind))
    last = found[-1][0]
    if all(shot.epoch is not None for shot, _ in found):
        found.sort(key=lambda item: item[0].epoch)
    if found[-1][0] is not last:
        raise ProbeError(
            f'{found[-1][0].checkpoint} is given as an earlier checkpoint and is of epoch {found[-1][0].epoch}, but '
            f'{last.checkpoint}, the trained network, is of epoch {last.epoch}. Give the latest as CHECKPOINT.'
        )
    shots, kinds = zip(*found, strict=True)
    weights = {name: layer_weights(block) for name, block in checkpoint.blocks.items()}
    has_conv = any(map(_has_conv, checkpoint.blocks.values()))
    return Series(Record(checkpoint.config, shots), kinds, weights, has_conv)


def read(source: str) -> Checkpoint:
    """Read the DFC blocks of a checkpoint of any known layout; averaged weights where it has them.

    Args:
        source: A file, or its http(s) address.

    Raises:
        CheckpointError: The file cannot be read; see :func:`~ss_backbones.checkpoints.files.read_checkpoint`.
        ProbeError: It has no DFC, an incomplete one, or weights that are not finite or as good as infinite.
    """
    content = read_checkpoint(source)
    found = extract(content, source, average=True)
    blocks = _blocks(found.tensors, source)
    for name, block in blocks.items():
        _check_block(block, f'{source}: {name}')
    _check_finite(blocks, source)
    meta = content.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    epoch, config = meta.get('epoch'), meta.get('cfg')
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        named = _EPOCH_NAME.fullmatch(Path(source).name)
        epoch = int(named[1]) if named else None
    snapshot = Snapshot(Path(source).name, epoch, tuple(block_statistics(*item) for item in blocks.items()))
    return Checkpoint(snapshot, config if isinstance(config, str) else None, found.kind, blocks)


def _files(source: str, earlier: Sequence[str]) -> list[str]:
    """The checkpoints of a training; in a folder those of mmengine's, by epoch."""
    if not source.strip():
        raise ProbeError('CHECKPOINT is an empty text. Give a checkpoint file, or the folder of a training.')
    folder, files = Path(source), [*earlier, source]
    if folder.is_dir():
        if earlier:
            raise ProbeError(
                f'{source} is a folder, whose checkpoints are all taken; --earlier goes with a checkpoint file alone.'
            )
        epochs = {path: _EPOCH_NAME.fullmatch(path.name) for path in folder.glob('*.pth')}
        files = [str(p) for p in sorted((p for p in epochs if epochs[p]), key=lambda path: int(epochs[path][1]))]
        if not files:
            others = some(sorted(path.name for path in epochs))
            raise ProbeError(
                f'{folder} has no epoch_*.pth{f", but {others}" * bool(others)}. Give a folder with the checkpoints '
                'of a training, or a checkpoint file.'
            )
    if len({Path(file).resolve() for file in files}) < len(files):
        raise ProbeError(f'A checkpoint is given twice: {", ".join(files)}. Give each once.')
    return files


def _blocks(tensors: Mapping[str, Tensor], source: str) -> Blocks:
    """All blocks of the network that has DFC, complete, in the order of depth."""
    if not any('.mlp.dfc.' in key for key in tensors):
        raise ProbeError(
            f'{source} has no DFC in it (its keys start with {starts(tensors)}), so there is nothing to probe. Train a '
            "network with DFC first: a backbone of this package with mlp='dfc', or a timm model dfc_deit_*."
        )
    networks: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        if match := _IN_BLOCK.match(key):
            networks.setdefault(match[1], {}).setdefault(match[2], {})[match[3]] = tensor
    with_dfc = [blocks for blocks in networks.values() if any('mlp.dfc.' in key for b in blocks.values() for key in b)]
    if len(with_dfc) != 1:
        raise ProbeError(
            f'{source} has DFC in {len(with_dfc)} networks, and one is probed at a time; its keys start with '
            f"{starts(tensors)}. Expected are keys such as 'backbone.blocks.0.mlp.dfc.gl1.weight' with one prefix."
        )
    blocks = {name: (block, _shapes(2, 4, _has_conv(block))) for name, block in with_dfc[0].items()}
    missing = [f'{name}.{key}' for name, (block, keys) in blocks.items() for key in keys if key not in block]
    missing += _gaps(blocks)
    if missing:
        raise ProbeError(
            f'{source} is incomplete: it lacks {some(missing)}. Every block must have its norm, first linear and DFC. '
            'Give the checkpoint as it was saved in training, not a folded or an edited one.'
        )
    names = sorted(blocks, key=lambda name: [int(number) for number in re.findall(r'\d+', name)])
    return {name: {key: blocks[name][0][key] for key in blocks[name][1]} for name in names}


def _has_conv(block: Mapping[str, Tensor]) -> bool:
    return any(key.startswith('mlp.dwconv.') for key in block)


def _shapes(dim: int, hidden: int, has_conv: bool) -> dict[str, tuple[int, ...]]:
    """What the probe reads of a block, by key; raises ValueError where DFC cannot have such widths."""
    with torch.device('meta'):
        block = nn.ModuleDict({'norm2': nn.LayerNorm(dim), 'mlp': DfcMlp(dim, hidden, conv=has_conv)})
    return {key: tuple(tensor.shape) for key, tensor in block.state_dict().items()}


def _gaps(names: Mapping[str, object]) -> list[str]:
    """The blocks that are not there though later ones of the same stage are."""
    last: dict[str, int] = {}
    for name in names:
        stage, index = name.rsplit('.', 1)
        last[stage] = max(last.get(stage, 0), int(index))
    return [f'{stage}.{i}' for stage, count in last.items() for i in range(count) if f'{stage}.{i}' not in names]


def _check_block(block: Mapping[str, Tensor], where: str) -> None:
    """Whether a block has plain weights, and its layers fit each other."""
    for key, tensor in block.items():
        if not tensor.is_floating_point():
            raise ProbeError(
                f'{where}: {key} is {tensor.dtype}; expected are plain floating-point weights. Give the checkpoint as '
                'it was saved in training, not a converted one.'
            )
    fc1 = tuple(block['mlp.fc1.weight'].shape)
    try:
        hidden, dim = fc1
        expected = _shapes(dim, hidden, _has_conv(block))
    except ValueError as error:
        raise ProbeError(
            f'{where}: mlp.fc1.weight is {fc1}; expected is (H, C), with an even C and H a multiple of it.'
        ) from error
    for key, shape in expected.items():
        if tuple(block[key].shape) != shape:
            raise ProbeError(
                f'{where}: {key} is {tuple(block[key].shape)} and must be {shape}, as mlp.fc1.weight is {fc1}.'
            )


def _check_finite(blocks: Blocks, source: str) -> None:
    tensors = {f'{name}.{key}': tensor for name, block in blocks.items() for key, tensor in block.items()}
    wrong = {key: tensor for key, tensor in tensors.items() if not tensor.isfinite().all()}
    if wrong:
        key, tensor = next(iter(wrong.items()))
        more = f', and so have {len(wrong) - 1} other tensors' if len(wrong) > 1 else ''
        raise ProbeError(
            f'{source}: {key} has {int((~tensor.isfinite()).sum())} of {tensor.numel()} weights that are NaN or '
            f'infinite{more}. Did the training diverge? Probe an earlier checkpoint.'
        )


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
