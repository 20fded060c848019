"""One loader for the checkpoints of all layouts, which reports what it did and refuses to do nothing.

Known layouts: the official SS code and timm (the keys of this package), whai362/PVT, and OpenMMLab's PVT and ViT.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath

import torch
from torch import Tensor, nn

from .checkpoint_files import CheckpointError, read_checkpoint
from .fitting import fit_first_conv, fit_positions
from .layouts import StateDict, to_own_keys

_PREFIXES = ('module.', '_orig_mod.', 'model.', 'backbone.')
_AVERAGED = ('state_dict_ema', 'model_ema')
_RAW_OF_MMENGINE = 'ema_state_dict'  # with mmengine's EMAHook 'state_dict' is the average, and this the raw weights
_CONTAINERS = ('state_dict', 'model', 'module')
_RAMP = '.mlp.pos_bias'
_HEAD = 'head.'  # the classifier's, which may differ: other data have other classes
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
            ``prefix``; nothing fits; or, unless ``partial``, the checkpoint is of another network: less than 90% of the
            tensors match, a tensor or a ramp differs, it has more blocks or fewer, or it lacks the class token. A
            classifier's head may differ, and parts of the arch that the module leaves out may be there. Nothing is
            loaded then.
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
    weights = _select(_unwrap(checkpoint, name, use_ema), prefix, own, name)

    adapted = [*fit_first_conv(weights, own), *fit_positions(weights, module)]
    misfits = {key: text for key in own if key in weights and (text := _misfit(key, weights[key], own[key]))}
    fits = [key for key in own if key in weights and key not in misfits]
    absent = [key for key in own if key not in weights]
    fresh = [key for key in absent if key.startswith(getattr(module, 'fresh', ()))]
    report = LoadReport(
        source=name,
        matched=tuple(fits),
        missing=tuple(key for key in absent if key not in fresh),
        unexpected=tuple(key for key in weights if key not in own),
        wrong_shape=tuple(f'{key} ({text})' for key, text in misfits.items()),
        adapted=tuple(adapted),
        fresh=tuple(fresh),
    )
    problem = 'nothing fits' if not fits else '' if partial else _other_network(report, misfits, module)
    if problem:
        raise CheckpointError(
            f'{report}\nNothing was loaded: {problem}. Is the checkpoint of the same arch, settings and channels? '
            'To take what fits on purpose, pass partial=True.'
        )
    module.load_state_dict({key: weights[key] for key in fits}, strict=False)
    return report


def _misfit(key: str, theirs: Tensor, ours: Tensor) -> str:
    """Why a tensor cannot be taken, or nothing."""
    if theirs.shape != ours.shape:
        return f'{tuple(theirs.shape)} in the checkpoint, {tuple(ours.shape)} in the model'
    # A ramp follows from the settings; one that differs by more than half precision's rounding is of other settings.
    if key.endswith(_RAMP) and not torch.allclose(theirs.to(ours), ours, rtol=0, atol=1e-2):
        return f'a ramp to {theirs[-1]:g} in the checkpoint, to {ours[-1]:g} in the model'
    return ''


def _other_network(report: LoadReport, misfits: Mapping[str, str], module: nn.Module) -> str:
    """What shows that the checkpoint is of another network, or nothing."""
    if _CLASS_TOKEN in report.missing:
        return 'the checkpoint has no class token (cls_token). Build the network with class_token=False'
    if report.share < _LEAST_SHARE:
        return f'only {report.share:.0%} of the model matches'
    body = [key for key in misfits if not key.startswith(_HEAD)]
    if body:
        return f'{len(body)} tensors differ'
    if any(key.endswith(_RAMP) for key in report.missing):
        return 'the checkpoint has no ramps where the settings have some'
    blocks = {block for key in report.missing if (block := _block(key))} - {_block(key) for key in report.matched}
    if blocks:
        return f'the checkpoint has no {", ".join(sorted(blocks))}'
    # Parts of the arch that the module leaves out may be there; anything else inside its own parts may not.
    parts = {key.split('.')[0] for key in module.state_dict()}
    left_out = (_HEAD, *getattr(module, 'not_built', ()))
    more = [key for key in report.unexpected if key.split('.')[0] in parts and not key.startswith(left_out)]
    return f'the checkpoint has {len(more)} tensors more in the same parts' if more else ''


def _block(key: str) -> str:
    """'stages.1.blocks.0' or 'blocks.3', the block that a tensor stands in, or nothing."""
    match = _BLOCK.match(key)
    return match[0] if match else ''


def _unwrap(checkpoint: Mapping[str, object], name: str, use_ema: bool) -> StateDict:
    """The state dict inside a checkpoint."""
    order = (*_AVERAGED, *_CONTAINERS) if use_ema else (_RAW_OF_MMENGINE, *_CONTAINERS)
    for key in order:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping) and inner:
            return _unwrap(inner, name, use_ema)
    tensors = {key: value for key, value in checkpoint.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f'{name} holds no tensors (its entries: {_some(checkpoint)}). Is it a checkpoint?')
    return tensors


def _select(state_dict: StateDict, prefix: str | None, own: Mapping[str, Tensor], name: str) -> StateDict:
    """What belongs to the module, in its own keys."""
    if prefix is not None:
        prefix = prefix if not prefix or prefix.endswith('.') else f'{prefix}.'
        if not any(key.startswith(prefix) for key in state_dict):
            starts = sorted({key.split('.')[0] + '.' for key in state_dict})
            raise CheckpointError(
                f'{name} has nothing under prefix={prefix!r}; its keys start with {_some(starts)} - '
                'give the prefix of the network, or leave it out to have it found.'
            )
        return to_own_keys(_under(state_dict, prefix))
    best, candidates = to_own_keys(state_dict), ['']
    while candidates:
        start = candidates.pop()
        weights = to_own_keys(_under(state_dict, start))
        if _overlap(weights, own) > _overlap(best, own):
            best = weights
        candidates += [start + p for p in _PREFIXES if any(key.startswith(start + p) for key in state_dict)]
    return best


def _under(state_dict: StateDict, prefix: str) -> StateDict:
    return {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}


def _overlap(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return len(weights.keys() & own.keys())


def _some(names: object) -> str:
    names = [str(name) for name in names]
    return ', '.join(names[:6]) + (f' and {len(names) - 6} more' if len(names) > 6 else '')
