"""The DFC layers in a checkpoint, block by block, with everything checked that the statistics rely on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.files import read_checkpoint
from ..checkpoints.key_maps import StateDict
from ..checkpoints.extraction import some, starts, unwrap
from .errors import ProbeError

CONV = ('mlp.dwconv.weight', 'mlp.dwconv.bias')
_LAYERS = ('norm2', 'mlp.fc1', 'mlp.dfc.gl1', 'mlp.dfc.gate', 'mlp.dfc.gl2')
_NEEDED = tuple(f'{layer}.{part}' for layer in _LAYERS for part in ('weight', 'bias'))
_IN_BLOCK = re.compile(r'^(|.*?\.)((?:stages\.\d+\.)?blocks\.\d+)\.(.+)$')
_EPOCH_NAME = re.compile(r'epoch_(\d+)\.pth')


@dataclass(frozen=True)
class Checkpoint:
    """What was read of one file.

    Args:
        name: The file's name.
        epoch: Epochs done, or None where the file does not say.
        config: The text of the config it was trained with, or None where the file has none.
        kind: Which weights these are, in words: the average, the raw weights, or the only ones.
        blocks: By the block's name, in the order of depth, the tensors by their keys in the block.
    """

    name: str
    epoch: int | None
    config: str | None
    kind: str
    blocks: Mapping[str, Mapping[str, Tensor]]

    @property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """What makes two files those of one network."""
        return {name: {key: tuple(t.shape) for key, t in block.items()} for name, block in self.blocks.items()}


def read(source: str) -> Checkpoint:
    """Read the DFC blocks of a checkpoint of any known layout; averaged weights where it has them.

    Args:
        source: A file, or its http(s) address.

    Raises:
        CheckpointError: The file cannot be read; see :func:`~ss_backbones.checkpoint_files.read_checkpoint`.
        ProbeError: It has no DFC, an incomplete one, or weights that are not finite.
    """
    content = read_checkpoint(source)
    unwrapped = unwrap(content, source, average=True)
    blocks = _blocks(unwrapped.tensors, source)
    for name, block in blocks.items():
        _check_kinds(block, f'{source}: {name}')
        _check_shapes(block, f'{source}: {name}')
    _check_finite(blocks, source)
    meta = content.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    epoch, config = meta.get('epoch'), meta.get('cfg')
    named = _EPOCH_NAME.fullmatch(Path(source).name)
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        epoch = int(named[1]) if named else None
    return Checkpoint(
        Path(source).name, epoch, config if isinstance(config, str) else None, unwrapped.kind, dict(blocks)
    )


def _blocks(tensors: StateDict, source: str) -> dict[str, dict[str, Tensor]]:
    """All blocks of the network that has DFC, complete, in the order of depth."""
    if not any('.mlp.dfc.' in key for key in tensors):
        raise ProbeError(
            f'{source} has no DFC in it (its keys start with {starts(tensors)}), so there is nothing to probe. Train a '
            "network with DFC first: SSViT or SSPVTv2 with mlp='dfc', or a timm model dfc_deit_*."
        )
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        if match := _IN_BLOCK.match(key):
            found.setdefault(match[1], {}).setdefault(match[2], {})[match[3]] = tensor
    with_dfc = [prefix for prefix, blocks in found.items() if any(_has_dfc(block) for block in blocks.values())]
    if len(with_dfc) != 1:
        raise ProbeError(
            f'{source} has DFC in {len(with_dfc)} networks, and one is probed at a time; its keys start with '
            f"{starts(tensors)}. Expected are keys such as 'backbone.blocks.0.mlp.dfc.gl1.weight' with one prefix."
        )
    blocks = found[with_dfc[0]]
    missing = [f'{name}.{key}' for name, block in blocks.items() for key in _missing(block)] + _gaps(blocks)
    if missing:
        raise ProbeError(
            f'{source} is incomplete: it lacks {some(missing)}. Every block must have its norm, first linear and DFC. '
            'Give the checkpoint as it was saved in training, not a folded or an edited one.'
        )
    kept = (*_NEEDED, *CONV)
    return {
        name: {key: blocks[name][key] for key in kept if key in blocks[name]} for name in sorted(blocks, key=_depth)
    }


def _has_dfc(block: Mapping[str, Tensor]) -> bool:
    return any(key.startswith('mlp.dfc.') for key in block)


def _missing(block: Mapping[str, Tensor]) -> list[str]:
    conv = CONV if any(key in block for key in CONV) else ()
    return [key for key in (*_NEEDED, *conv) if key not in block]


def _gaps(names: Mapping[str, object]) -> list[str]:
    """The blocks that are not there though later ones of the same stage are."""
    last: dict[str, int] = {}
    for name in names:
        stage, index = name.rsplit('.', 1)
        last[stage] = max(last.get(stage, 0), int(index))
    return [f'{stage}.{i}' for stage, count in last.items() for i in range(count) if f'{stage}.{i}' not in names]


def _depth(name: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', name)]


def _check_kinds(block: Mapping[str, Tensor], where: str) -> None:
    for key, tensor in block.items():
        if tensor.is_meta or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise ProbeError(
                f'{where}: {key} is {tensor.dtype} ({tensor.layout}) on the device {tensor.device}; expected are plain '
                'floating-point weights. Give the checkpoint as it was saved in training, not a converted one.'
            )


def _check_shapes(block: Mapping[str, Tensor], where: str) -> None:
    """Whether the layers of a block fit each other."""
    fc1, gl1 = block['mlp.fc1.weight'].shape, block['mlp.dfc.gl1.weight'].shape
    if len(fc1) != 2 or fc1[1] < 2 or fc1[0] % fc1[1] or len(gl1) != 2 or gl1[0] * gl1[1] != fc1[0]:
        raise ProbeError(
            f'{where}: mlp.fc1.weight is {tuple(fc1)} and mlp.dfc.gl1.weight {tuple(gl1)}; expected are (H, C), with H '
            'a multiple of C, and (groups, H / groups).'
        )
    (hidden, dim), groups = fc1, gl1[0]
    expected = {
        'norm2.weight': (dim,),
        'norm2.bias': (dim,),
        'mlp.fc1.bias': (hidden,),
        'mlp.dfc.gl1.bias': (groups,),
        'mlp.dfc.gate.weight': (hidden, groups),
        'mlp.dfc.gate.bias': (hidden,),
        'mlp.dfc.gl2.weight': (dim, hidden // dim),
        'mlp.dfc.gl2.bias': (dim,),
        'mlp.dwconv.weight': (hidden, 1, 3, 3),
        'mlp.dwconv.bias': (hidden,),
    }
    for key, shape in expected.items():
        if key in block and tuple(block[key].shape) != shape:
            raise ProbeError(
                f'{where}: {key} is {tuple(block[key].shape)} and must be {shape}, as mlp.fc1.weight is {tuple(fc1)} '
                f'and mlp.dfc.gl1.weight {tuple(gl1)}.'
            )


def _check_finite(blocks: Mapping[str, Mapping[str, Tensor]], source: str) -> None:
    wrong = {f'{name}.{key}': tensor for name, block in blocks.items() for key, tensor in block.items()}
    wrong = {key: tensor for key, tensor in wrong.items() if not tensor.isfinite().all()}
    if wrong:
        key, tensor = next(iter(wrong.items()))
        more = f', and so have {len(wrong) - 1} other tensors' if len(wrong) > 1 else ''
        raise ProbeError(
            f'{source}: {key} has {int((~tensor.isfinite()).sum())} of {tensor.numel()} weights that are NaN or '
            f'infinite{more}. Did the training diverge? Probe an earlier checkpoint.'
        )
