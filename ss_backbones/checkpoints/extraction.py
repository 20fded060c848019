"""From what a checkpoint file holds to the weights of a network in it: which set of them, and under which prefix."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from torch import Tensor

from ..errors import CheckpointError
from ..networks.base import KeyMap, StateDict
from .activations import activations_in, with_activations
from .key_maps import to_own_keys
from .values import check_memory

AVERAGE, RAW, ONLY = 'the average', 'the raw weights', 'its only weights'

_PREFIXES = ('module.', '_orig_mod.', 'model.', 'backbone.')
_AVERAGED = ('state_dict_ema', 'model_ema')
_RAW_OF_MMENGINE = 'ema_state_dict'  # with mmengine's EMAHook 'state_dict' is the average, and this the raw weights
_CONTAINERS = ('state_dict', 'model', 'module')
_DEEPEST = 10  # such containers within each other; a mapping may contain itself


@dataclass(frozen=True)
class Extracted:
    """One set of weights out of a checkpoint.

    Args:
        tensors: The set, with the checkpoint's keys, and the activations in its metadata.
        kind: AVERAGE, RAW, or ONLY where the checkpoint has one set and does not say which it is.
        left_out: What else the checkpoint holds, in words.
    """

    tensors: StateDict
    kind: str
    left_out: tuple[str, ...]


def extract(checkpoint: Mapping[str, object], name: str, average: bool, *, depth: int = 0) -> Extracted:
    """The weights inside a checkpoint.

    Args:
        checkpoint: What its file holds.
        name: What to call it in errors.
        average: Prefer averaged weights to raw ones where the checkpoint has both; or else the raw ones.
        depth: In how many others the checkpoint stands.

    Raises:
        CheckpointError: It holds no tensors, or, unless ``average``, no others than averaged ones; it contains itself;
            or a tensor is none in ordinary memory (see :func:`~.values.check_memory`).
    """
    if depth > _DEEPEST:
        raise CheckpointError(
            f'{name} has its weights in more than {_DEEPEST} mappings within each other (its entries: '
            f'{some(checkpoint)}). Does one contain itself? Give the state dict alone.'
        )
    kinds = _kinds(checkpoint)
    order = (*_AVERAGED, *_CONTAINERS) if average else (_RAW_OF_MMENGINE, *_CONTAINERS)
    taken = next((key for key in order if key in kinds), None)
    if taken is None:
        tensors = {k: value for k, value in checkpoint.items() if isinstance(k, str) and isinstance(value, Tensor)}
        if not tensors and AVERAGE in kinds.values():
            raise CheckpointError(f'{name} holds an average and no raw weights (its entries: {some(checkpoint)}).')
        if not tensors:
            raise CheckpointError(f'{name} holds no tensors (its entries: {some(checkpoint)}). Is it a checkpoint?')
        check_memory(tensors, name)
        left_out = tuple(str(key) for key in checkpoint if key not in tensors)
        return Extracted(with_activations(tensors, activations_in(checkpoint)), ONLY, left_out)
    inner = extract(checkpoint[taken], name, average, depth=depth + 1)
    kind = inner.kind if kinds[taken] == ONLY else kinds[taken]
    named = {key: f'{key} ({what})' for key, what in kinds.items() if what != ONLY}
    left_out = [named.get(key, str(key)) for key in checkpoint if key != taken]
    return Extracted(inner.tensors, kind, (*left_out, *inner.left_out))


def _kinds(checkpoint: Mapping[str, object]) -> dict[str, str]:
    """The entries that are sets of weights, and what each is."""
    known = (*_AVERAGED, _RAW_OF_MMENGINE, *_CONTAINERS)
    sets = [key for key in known if isinstance(checkpoint.get(key), Mapping) and checkpoint[key]]
    kinds = dict.fromkeys(sets, RAW if set(_AVERAGED) & set(sets) else ONLY)
    kinds |= {key: AVERAGE for key in _AVERAGED if key in sets}
    if _RAW_OF_MMENGINE in sets:
        kinds[_RAW_OF_MMENGINE] = RAW
        if 'state_dict' in sets:
            kinds['state_dict'] = AVERAGE
    return kinds


def under(
    state_dict: Mapping[str, Tensor], prefix: str, name: str, maps: Sequence[KeyMap] | None = None
) -> tuple[str, StateDict]:
    """A prefix with its dot, and what stands under it, in this package's keys.

    Raises:
        CheckpointError: Nothing does.
    """
    prefix = prefix if not prefix or prefix.endswith('.') else f'{prefix}.'
    if not any(key.startswith(prefix) for key in state_dict):
        raise CheckpointError(
            f'{name} has nothing under prefix={prefix!r}; its keys start with {starts(state_dict)} - '
            'give the prefix of the network, or leave it out to have it found.'
        )
    return prefix, _renamed(state_dict, prefix, maps)


def find_prefix(
    state_dict: Mapping[str, Tensor], own: Set[str], maps: Sequence[KeyMap] | None = None
) -> tuple[str, StateDict]:
    """The prefix under which most keys are those of ``own``, and what stands there, in this package's keys."""
    if state_dict.keys() == own:
        return '', dict(state_dict)
    prefix, best, candidates = '', to_own_keys(state_dict, maps), ['']
    while candidates:
        start = candidates.pop()
        weights = _renamed(state_dict, start, maps)
        if len(weights.keys() & own) > len(best.keys() & own):
            prefix, best = start, weights
        candidates += [start + p for p in _PREFIXES if any(key.startswith(start + p) for key in state_dict)]
    return prefix, best


def _renamed(state_dict: Mapping[str, Tensor], prefix: str, maps: Sequence[KeyMap]) -> StateDict:
    inside = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
    return to_own_keys(inside, maps)


def starts(state_dict: Mapping[str, Tensor]) -> str:
    """The first parts of the keys, in words."""
    return some(sorted({key.split('.')[0] + '.' for key in state_dict}))


def some(names: Iterable[object]) -> str:
    """The first six names, and how many more."""
    names = [str(name) for name in names]
    return ', '.join(names[:6]) + (f' and {len(names) - 6} more' if len(names) > 6 else '')
