"""One loader for the checkpoints of all layouts, which reports what it did and refuses to do nothing.

Known layouts: the official SS code and timm (the keys of this package), whai362/PVT, and OpenMMLab's PVT and ViT.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath

import torch
from torch import Tensor, nn

from .files import CheckpointError, read_checkpoint
from .resizing import fit_first_conv, fit_positions
from ..layers.folded_weights import check_folding
from .extraction import find_prefix, under, unwrap

_RAMP = '.mlp.pos_bias'
FOR_PROGRAMS = ' To take what fits on purpose, pass partial=True.'  # tools without the option leave it out
HEAD = 'head.'  # the classifier's, which may differ: other data have other classes
_CLASS_TOKEN = 'cls_token'
_BLOCK = re.compile(r'^(stages\.\d+\.)?blocks\.\d+')
_LEAST_SHARE = 0.9


@dataclass(frozen=True)
class LoadReport:
    """What a call of :func:`load_weights` did; every field but the first lists state-dict keys.

    Args:
        source: Where the weights came from.
        matched: Loaded tensors.
        missing: Tensors of the module that the checkpoint does not have; they keep their values.
        unexpected: Tensors of the checkpoint that the module does not have.
        wrong_shape: Tensors that differ in shape, with both shapes; they keep their values.
        adapted: Tensors that were fitted to the module, such as a first convolution for another number of channels.
        fresh: Tensors that no classifier has, such as those of a pyramid; they keep their values and are not missing.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    adapted: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the module's tensors, without the fresh ones, that were loaded, in [0, 1]."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing) + len(self.wrong_shape))

    def __str__(self) -> str:
        lines = [
            f'{self.source}: {len(self.matched)} tensors matched, {len(self.missing)} missing, '
            f'{len(self.unexpected)} unexpected, {len(self.wrong_shape)} of the wrong shape'
        ]
        for name in ('missing', 'wrong_shape', 'unexpected', 'adapted', 'fresh'):
            keys = getattr(self, name)
            if keys:
                more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
                lines.append(f'  {name.replace("_", " ")}: {", ".join(keys[:3])}{more}')
        return '\n'.join(lines)


def load_weights(
    module: nn.Module,
    source: str | PathLike[str] | Mapping[str, object],
    *,
    prefix: str | None = None,
    use_ema: bool = True,
    partial: bool = False,
) -> LoadReport:
    """Load a checkpoint of any known layout into a network of this package.

    Args:
        module: The network.
        source: A file (.pth, .pt, .safetensors), an http(s) address, or the mapping that such a file holds.
        prefix: Where the network stands in the checkpoint, such as 'backbone.'; None finds it.
        use_ema: Prefer averaged weights where the checkpoint has both.
        partial: Take whatever fits, on purpose, from a checkpoint of another network. The module's own ramps stay.

    Returns:
        What matched, was missing, unexpected or of the wrong shape.

    Raises:
        CheckpointError: The file is missing, a directory, empty, damaged or no checkpoint; nothing lies under
            ``prefix``; nothing fits; it is of a folded model and the network is not folded, or the other way round
            (see :func:`~ss_backbones.fold`); or, unless ``partial``, the checkpoint is of another network: less than
            90% of the tensors match, a tensor or a ramp differs, it has more blocks or fewer, or it lacks the class
            token. A classifier's head may differ, and parts of the arch that the module leaves out may be there.
            Nothing is loaded then.
    """
    if not isinstance(source, str | PathLike | Mapping):
        raise CheckpointError(f'The checkpoint must be a path, an address or a mapping, not {type(source).__name__}.')
    if any(parameter.is_meta for parameter in module.parameters()):
        raise CheckpointError(
            'The model is on the meta device and has no memory to load weights into; build it elsewhere.'
        )
    name = 'the given mapping' if isinstance(source, Mapping) else fspath(source)
    checkpoint = source if isinstance(source, Mapping) else read_checkpoint(name)
    own = module.state_dict()
    tensors = unwrap(checkpoint, name, average=use_ema).tensors
    weights = find_prefix(tensors, own.keys())[1] if prefix is None else under(tensors, prefix, name)
    check_folding(weights, own, name)

    adapted = [*fit_first_conv(weights, own), *fit_positions(weights, module)]
    report = compare(weights, own, name, adapted, getattr(module, 'fresh', ()))
    problem = 'nothing fits' if not report.matched else '' if partial else _other_network(report, module)
    if problem:
        raise CheckpointError(
            f'{report}\nNothing was loaded: {problem}. Is the checkpoint of the same arch, settings and channels?'
            + FOR_PROGRAMS
        )
    module.load_state_dict({key: weights[key] for key in report.matched}, strict=False)
    return report


def compare(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source: str,
    adapted: Sequence[str] = (),
    fresh: tuple[str, ...] = (),
) -> LoadReport:
    """Hold a checkpoint's tensors against a network's.

    Args:
        weights: The checkpoint's, in this package's keys.
        own: The network's state dict.
        source: Where the weights came from.
        adapted: What was fitted to the network before.
        fresh: Starts of the keys that no classifier has.
    """
    misfits = {key: text for key in own if key in weights and (text := misfit(key, weights[key], own[key]))}
    absent = [key for key in own if key not in weights]
    return LoadReport(
        source=source,
        matched=tuple(key for key in own if key in weights and key not in misfits),
        missing=tuple(key for key in absent if not key.startswith(fresh)),
        unexpected=tuple(key for key in weights if key not in own),
        wrong_shape=tuple(f'{key} ({text})' for key, text in misfits.items()),
        adapted=tuple(adapted),
        fresh=tuple(key for key in absent if key.startswith(fresh)),
    )


def misfit(key: str, theirs: Tensor, ours: Tensor) -> str:
    """Why a tensor cannot be taken, or nothing."""
    if theirs.shape != ours.shape:
        return f'{tuple(theirs.shape)} in the checkpoint, {tuple(ours.shape)} in the model'
    # A ramp follows from the settings; one that differs by more than half precision's rounding is of other settings.
    # On the meta device there is nothing to compare.
    valued = not (theirs.is_meta or ours.is_meta)
    if key.endswith(_RAMP) and valued and not torch.allclose(theirs.to(ours), ours, rtol=0, atol=1e-2):
        return f'a ramp to {theirs[-1]:g} in the checkpoint, to {ours[-1]:g} in the model'
    return ''


def _other_network(report: LoadReport, module: nn.Module) -> str:
    """What shows that the checkpoint is of another network, or nothing."""
    if _CLASS_TOKEN in report.missing:
        return 'the checkpoint has no class token (cls_token). Build the network with class_token=False'
    if report.share < _LEAST_SHARE:
        return f'only {report.share:.0%} of the model matches'
    body = [text for text in report.wrong_shape if not text.startswith(HEAD)]
    if body:
        return f'{len(body)} tensors differ'
    if any(key.endswith(_RAMP) for key in report.missing):
        return 'the checkpoint has no ramps where the settings have some'
    blocks = {block for key in report.missing if (block := _block(key))} - {_block(key) for key in report.matched}
    if blocks:
        return f'the checkpoint has no {", ".join(sorted(blocks))}'
    # Parts of the arch that the module leaves out may be there; anything else inside its own parts may not.
    parts = {key.split('.')[0] for key in module.state_dict()}
    left_out = (HEAD, *getattr(module, 'not_built', ()))
    more = [key for key in report.unexpected if key.split('.')[0] in parts and not key.startswith(left_out)]
    return f'the checkpoint has {len(more)} tensors more in the same parts' if more else ''


def _block(key: str) -> str:
    """'stages.1.blocks.0' or 'blocks.3', the block that a tensor stands in, or nothing."""
    match = _BLOCK.match(key)
    return match[0] if match else ''
