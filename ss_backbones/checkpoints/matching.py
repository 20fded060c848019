"""What of a set of weights goes into a network, and whether they are of that network at all; nothing is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

from torch import Tensor, nn

from ..errors import MismatchError
from ..layers import Attention, Block, UfoAttention
from ..layers.folded_weights import check_folding
from ..networks.base import KeyMap, Network, StateDict
from .activations import activations_in, other_activations
from .extraction import find_prefix, under
from .key_maps import to_own_keys
from .ramps import expected_ramps, move_ramps, same_ramp
from .resizing import resize_first_conv
from .values import check_numbers

HEAD = 'head.'  # the classifier's, which may differ: other data have other classes
GAMMA = '.q_norm.gamma'  # every linear attention has one
_CLASS_TOKEN = 'cls_token'
LEAST_SHARE = 0.9


@dataclass(frozen=True)
class Difference:
    """A tensor that a checkpoint and a network both have, but of another shape; or a ramp of other settings.

    Args:
        key: Its state-dict key.
        theirs: Its shape in the checkpoint; the end of the ramp, where the shapes are the same.
        ours: The same in the network.
    """

    key: str
    theirs: tuple[int, ...] | float
    ours: tuple[int, ...] | float

    def __str__(self) -> str:
        if isinstance(self.theirs, tuple):
            return f'{self.key} ({self.theirs} in the checkpoint, {self.ours} in the model)'
        return f'{self.key} (a ramp to {self.theirs:g} in the checkpoint, to {self.ours:g} in the model)'


@dataclass(frozen=True)
class LoadReport:
    """How a checkpoint and a network match; every field but the first, ``differences`` and the last lists keys.

    Args:
        source: Where the weights came from.
        matched: Tensors that are loaded.
        missing: Tensors of the module that the checkpoint does not have; they keep their values.
        unexpected: Tensors of the checkpoint that the module does not have.
        differences: Tensors that differ in shape, with both shapes; they keep their values.
        adapted: What was changed for the module: tensors that were resized, such as a first convolution for another
            number of channels, and ramps that the two networks hold differently.
        fresh: Tensors that no classifier has, such as those of a pyramid; they keep their values and are not missing.
        other_activations: MLPs, each with its two activations in words, that have another one in the checkpoint.

    Attributes:
        wrong_shape: ``differences`` in words, each after its key.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differences: tuple[Difference, ...]
    adapted: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    other_activations: tuple[str, ...] = ()

    @property
    def wrong_shape(self) -> tuple[str, ...]:
        return tuple(map(str, self.differences))

    @property
    def not_loaded(self) -> tuple[str, ...]:
        """The keys of all tensors of the module that keep their values."""
        return (*self.missing, *(difference.key for difference in self.differences), *self.fresh)

    @property
    def share(self) -> float:
        """Share of the module's tensors, without the fresh ones, that are loaded, in [0, 1]."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing) + len(self.differences))

    def __str__(self) -> str:
        lines = [
            f'{self.source}: {len(self.matched)} tensors matched, {len(self.missing)} missing, '
            f'{len(self.unexpected)} unexpected, {len(self.differences)} of the wrong shape'
        ]
        for name in ('missing', 'wrong_shape', 'unexpected', 'adapted', 'fresh', 'other_activations'):
            entries = getattr(self, name)
            if entries:
                more = f' and {len(entries) - 3} more' if len(entries) > 3 else ''
                lines.append(f'  {name.replace("_", " ")}: {", ".join(entries[:3])}{more}')
        return '\n'.join(lines)


@dataclass(frozen=True)
class Match:
    """What of a set of weights goes into a network.

    Args:
        tensors: By the network's keys, in its shapes; for ``load_state_dict(tensors, strict=False)``.
        report: What matched and what did not.
    """

    tensors: StateDict
    report: LoadReport


def match(
    weights: Mapping[str, Tensor],
    module: nn.Module,
    *,
    source: str,
    prefix: str | None = None,
    partial: bool = False,
) -> Match:
    """Find what of a set of weights goes into a network. Neither is changed; the network may be on the meta device.

    Args:
        weights: Tensors with the keys of any known layout, and of whatever else was in the checkpoint; with torch's
            metadata, if they have it.
        module: The network.
        source: What to call the weights in the report and in errors.
        prefix: Where the network stands in the weights, such as 'backbone.'; None finds it.
        partial: Take whatever fits, on purpose, from the weights of another network. The module's own ramps stay.

    Raises:
        MismatchError: Nothing fits; or, unless ``partial``, the weights are of another network, see
            :func:`~ss_backbones.load_weights`.
        CheckpointError: Nothing lies under ``prefix``; one of the two is folded and the other is not; weights are of
            whole or complex numbers; or, unless ``partial``, they are not finite.
    """
    own = module.state_dict()
    if prefix is None:
        prefix, renamed = find_prefix(weights, own.keys(), _key_maps(module))
    else:
        prefix, renamed = under(weights, prefix, source, _key_maps(module))
    check_folding(renamed, own, source)
    adapted, ramps = _resize(renamed, own, module), expected_ramps(module)
    activations = other_activations(activations_in(weights, prefix), module)
    report = compare(renamed, own, ramps, source, adapted, _backbone_keys(module), activations)
    problem = 'nothing fits' if not report.matched else '' if partial else _other_network(report, ramps, module)
    if problem:
        raise MismatchError(report, problem, 'To take what fits on purpose, pass partial=True.')
    tensors = {key: renamed[key] for key in report.matched}
    check_numbers(tensors, own, source, finite=not partial, advice='To take them all the same, pass partial=True.')
    return Match(tensors, report)


def adapt(
    weights: Mapping[str, Tensor], module: nn.Module, activations: Mapping[str, str]
) -> tuple[StateDict, list[str]]:
    """A network's weights of any known layout, without a prefix, by its keys and resized for it.

    They are for a loader that says itself what does not fit, but for activations. Weights that have no key and no shape
    but the network's are taken as they are.

    Args:
        weights: They.
        module: The network.
        activations: Those that the weights were trained with, by MLP, as far as they are known.

    Returns:
        The weights, and what was resized, in words.

    Raises:
        MismatchError: The network has other activations.
    """
    own = module.state_dict()
    if others := other_activations(activations, module):
        report = compare(to_own_keys(weights, _key_maps(module)), own, {}, 'the checkpoint', activations=others)
        advice = 'To take what fits on purpose, load it with ss_backbones.load_weights(model, FILE, partial=True).'
        raise MismatchError(report, _in_words(others), advice)
    if weights.keys() <= own.keys() and all(_shape(value) == _shape(own[key]) for key, value in weights.items()):
        return dict(weights), []  # no ramp is held otherwise, or it would have another shape
    renamed = to_own_keys(weights, _key_maps(module))
    return renamed, _resize(renamed, own, module)


def compare(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    ramps: Mapping[str, Tensor],
    source: str,
    adapted: Sequence[str] = (),
    fresh: tuple[str, ...] = (),
    activations: tuple[str, ...] = (),
) -> LoadReport:
    """Hold a checkpoint's tensors against a network's.

    Args:
        weights: The checkpoint's, in this package's keys.
        own: The network's state dict; the values do not count.
        ramps: What its ramps must be, see :func:`expected_ramps`.
        source: Where the weights came from.
        adapted: What was resized before.
        fresh: Starts of the keys that no classifier has.
        activations: The MLPs that have another activation, in words.
    """
    both = [key for key in own if key in weights]
    found = {key: _difference(key, weights[key], own[key], ramps.get(key)) for key in both}
    absent = [key for key in own if key not in weights]
    return LoadReport(
        source=source,
        matched=tuple(key for key in both if found[key] is None),
        missing=tuple(key for key in absent if not key.startswith(fresh)),
        unexpected=tuple(key for key in weights if key not in own),
        differences=tuple(difference for difference in found.values() if difference is not None),
        adapted=tuple(adapted),
        fresh=tuple(key for key in absent if key.startswith(fresh)),
        other_activations=activations,
    )


def _difference(key: str, theirs: Tensor, ours: Tensor, ramp: Tensor | None) -> Difference | None:
    other_ramp = ramp is not None and ours.shape == (0,) and theirs.ndim == 1 and len(theirs) >= len(ramp)
    if theirs.shape != ours.shape and not other_ramp:
        return Difference(key, tuple(theirs.shape), tuple(ours.shape))
    if ramp is None or not theirs.numel() or same_ramp(theirs, ramp):
        return None
    return Difference(key, theirs[len(ramp) - 1].item(), ramp[-1].item())


def _other_network(report: LoadReport, ramps: Mapping[str, Tensor], module: nn.Module) -> str:
    """What shows that the checkpoint is of another network, or nothing."""
    if _CLASS_TOKEN in report.missing:
        advice = (
            '. Build the network with class_token=False' if 'class_token' in signature(type(module)).parameters else ''
        )
        return f'the checkpoint has no class token (cls_token){advice}'
    if attention := _other_attention(report, module):
        return attention
    if report.share < LEAST_SHARE:
        return f'only {report.share:.0%} of the model matches'
    body = [difference for difference in report.differences if not difference.key.startswith(HEAD)]
    if body:
        return f'{len(body)} tensors differ'
    if report.other_activations:
        return _in_words(report.other_activations)
    if any(key in ramps for key in report.missing):
        return 'the checkpoint has no ramps where the settings have some'
    blocks = [name for name, part in module.named_modules() if isinstance(part, Block)]
    absent = [name for name in blocks if not any(key.startswith(f'{name}.') for key in report.matched)]
    if absent:
        return f'the checkpoint has no {", ".join(absent)}'
    # Parts of the arch that the module leaves out may be there; anything else inside its own parts may not.
    parts = {key.split('.')[0] for key in (*report.matched, *report.not_loaded)}
    left_out = (HEAD, *getattr(module, 'not_built', ()))
    more = [key for key in report.unexpected if key.split('.')[0] in parts and not key.startswith(left_out)]
    return f'the checkpoint has {len(more)} tensors more in the same parts' if more else ''


def _other_attention(report: LoadReport, module: nn.Module) -> str:
    """Which blocks have linear attention in the checkpoint or in the network alone, in words; or nothing.

    All else of such an attention may be of the same shape, but it was trained to be something else.
    """
    ours = [name for name, part in module.named_modules() if isinstance(part, UfoAttention)]
    theirs = {key.removesuffix(GAMMA) for key in report.unexpected if key.endswith(GAMMA)}
    absent = set(report.missing)
    softmax = [name for name in ours if name + GAMMA in absent and f'{name}.proj.weight' not in absent]
    linear = [name for name, part in module.named_modules() if isinstance(part, Attention) and name in theirs]
    if softmax:
        return (
            f'the checkpoint has softmax attention in {_some(softmax)}, where the model has linear attention '
            "(mixer='ufo'), whose scales it lacks"
        )
    if linear:
        return (
            f"the checkpoint has linear attention (mixer='ufo') in {_some(linear)}, where the model has softmax "
            'attention. Build the model with the same linear_stages, linear_blocks or mixers'
        )
    return ''


def _some(names: Sequence[str]) -> str:
    return names[0] + (f' and {len(names) - 1} more' if len(names) > 1 else '')


def _in_words(activations: Sequence[str]) -> str:
    return f'the activation differs in {_some(activations)}'


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None  # a quantised layer's state holds other things


# Modules that are no network, such as a part of one, have none of this.


def _key_maps(module: nn.Module) -> Sequence[KeyMap] | None:
    return module.key_maps if isinstance(module, Network) else None


def _backbone_keys(module: nn.Module) -> tuple[str, ...]:
    return module.backbone_keys if isinstance(module, Network) else ()


def _resize(weights: StateDict, own: Mapping[str, Tensor], module: nn.Module) -> list[str]:
    done = resize_first_conv(weights, own)
    if isinstance(module, Network):
        done += module.adapt_weights(weights)
    return [*done, *move_ramps(weights, module)]
