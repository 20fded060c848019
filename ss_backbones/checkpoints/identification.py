"""Which of the known networks a set of weights is of, by keys, shapes and ramps."""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..networks import PRESETS, Preset
from ..networks.base import StateDict
from ..networks.catalog import SIZES
from .extraction import find_prefix
from .matching import GAMMA, HEAD, LoadReport, compare
from .ramps import expected_ramps
from .resizing import first_convs

# what a network of the catalog may have otherwise; ramps of 'none' cannot be told from those of 'bias'
_KINDS = (
    {'settings': 'specific', 'mlp': 'standard', 'ramp': 'paper'},
    {'settings': 'specific', 'mlp': 'standard', 'ramp': 'bias'},
    {'settings': 'uniform', 'mlp': 'standard', 'ramp': 'paper'},
    {'settings': 'uniform', 'mlp': 'dfc', 'ramp': 'paper'},
    {'fused': True},
)
# What follows from the data and not from the network: the dimension that may differ, and what it counts.
_FREE = {'head.weight': (0, 'classes'), 'pos_embed': (1, 'positions')}


# What softmax and linear attention have both; the one has a reduction as well, the other scales.
_OF_BOTH = re.compile(r'\.(q|kv|qkv|proj)\.(weight|bias)$')


@dataclass(frozen=True)
class KnownNetwork:
    """A network of the catalog, or one of them with other settings or MLPs.

    Args:
        name: Its name in the catalog.
        settings: Its settings, a name.
        mlp: The kind of its MLPs, where it is not the one of the catalog; or nothing.
        ramp: Its ramps, where they are not those of the catalog; or nothing.
        fused: Whether its convolution mixers are fused.
        state: Its state dict with a classifier's head, on the meta device.
        ramps: Its ramps.
    """

    name: str
    settings: str
    mlp: str
    ramp: str
    fused: bool
    state: StateDict
    ramps: StateDict


@dataclass(frozen=True)
class Identification:
    """The known network that is nearest to a set of weights.

    Args:
        network: It.
        details: How the weights may differ from it, such as '10 classes'.
        report: The weights held against it, but for these details.
        fits: Whether every tensor matches and its parts have no more of them.
        linear: The names of the attention that is linear in the weights; in the known network it is not.
    """

    network: KnownNetwork
    details: tuple[str, ...]
    report: LoadReport
    fits: bool
    linear: tuple[str, ...] = ()

    def __str__(self) -> str:
        network = self.network
        own = [f'{name}={getattr(network, name)!r}' for name in ('mlp', 'ramp', 'fused') if getattr(network, name)]
        return f'{network.name} ({", ".join((f"settings={network.settings!r}", *own, *self.details))})'


def identify(weights: Mapping[str, Tensor], source: str) -> Identification:
    """Find the nearest known network.

    Args:
        weights: A state dict in this package's keys.
        source: Where it came from.
    """
    return min((_held_against(network, weights, source) for network in known_networks()), key=_distance)


def find_known(tensors: Mapping[str, Tensor]) -> tuple[str, StateDict]:
    """The prefix under which tensors of known networks stand, and these in this package's keys.

    They need not be of one of these networks; if none has a key of one of them, all are returned.
    """
    return find_prefix(tensors, known_keys())


def known_keys() -> frozenset[str]:
    """The state-dict keys of all known networks."""
    return frozenset(key for network in known_networks() for key in network.state)


def known_networks() -> tuple[KnownNetwork, ...]:
    """Every network of the catalog, as it is there and with the other settings and MLPs."""
    return _known_networks(tuple(PRESETS.values()))


@cache
def _known_networks(presets: tuple[Preset, ...]) -> tuple[KnownNetwork, ...]:
    found: dict[tuple[object, ...], KnownNetwork] = {}
    for kind in (None, *_KINDS):  # those of the catalog come first, as the first of equals is found
        for preset in presets:
            own = {'settings': preset.settings, 'mlp': preset.mlp, 'ramp': 'paper', 'fused': False}
            options = own | (kind or {})
            which = (preset.network, preset.arch, *(getattr(preset, size) for size in SIZES), *options.values())
            if which in found:
                continue
            with nullcontext() if kind is None else suppress(ValueError):  # not every family takes every kind
                found[which] = _build(preset, **options)
    return tuple(found.values())


def _build(preset: Preset, settings: str, mlp: str, ramp: str, fused: bool) -> KnownNetwork:
    with torch.device('meta'):  # no memory, no initialisation
        model = preset.build(settings=settings, mlp=mlp, ramp=ramp, fused=fused)
        head = {'head.weight': torch.empty(1000, model.num_features), 'head.bias': torch.empty(1000)}
    own_mlp = '' if mlp == preset.mlp else mlp
    own_ramp = '' if ramp == 'paper' else ramp
    body = {key: value for key, value in model.state_dict().items() if not key.startswith(model.backbone_keys)}
    return KnownNetwork(preset.name, settings, own_mlp, own_ramp, fused, body | head, expected_ramps(model))


def _held_against(network: KnownNetwork, weights: Mapping[str, Tensor], source: str) -> Identification:
    own, details = dict(network.state), []
    linear = tuple(key.removesuffix(GAMMA) for key in weights if key.endswith(GAMMA))
    if linear:
        own = _with_linear_attention(own, weights, linear)
        details.append(f'linear attention in {len(linear)} blocks')
    for key, (dim, what) in {**_FREE, **dict.fromkeys(first_convs(), (1, 'channels'))}.items():
        theirs, ours = weights.get(key), own.get(key)
        if theirs is None or ours is None or theirs.ndim != ours.ndim:
            continue
        shape = list(ours.shape)
        shape[dim] = theirs.shape[dim]
        own[key] = ours.new_empty(shape)
        if key.startswith(HEAD) or own[key].shape != ours.shape:
            details.append(f'{shape[dim]} {what}')
    if 'head.weight' in weights:
        own['head.bias'] = own['head.weight'][:, 0]
    else:
        details.append('no head')
        own = {key: value for key, value in own.items() if not key.startswith(HEAD)}
    report = compare(weights, own, network.ramps, source)
    return Identification(network, tuple(details), report, _fits(report), linear)


def _with_linear_attention(own: StateDict, weights: Mapping[str, Tensor], linear: Sequence[str]) -> StateDict:
    """A network's state dict, as it would be with linear attention in some places, which are given by their names."""
    places = tuple(f'{name}.' for name in linear if f'{name}.proj.weight' in own)
    found = {key: value for key, value in own.items() if not key.startswith(places) or _OF_BOTH.search(key)}
    scales = {key: value for key, value in weights.items() if key.startswith(places) and key.endswith('.gamma')}
    return found | {key: torch.empty_like(value, device='meta') for key, value in scales.items()}


def _fits(report: LoadReport) -> bool:
    parts = {key.split('.')[0] for key in report.matched}
    more = any(key.split('.')[0] in parts for key in report.unexpected)  # outside of them there may be a pyramid
    return not (report.missing or report.differences or more)


def _distance(identification: Identification) -> tuple[bool, int, int]:
    report = identification.report
    # A tensor of another shape is half as strange as one that is not there at all.
    strange = 2 * len(report.missing + report.unexpected) + len(report.differences)
    return not identification.fits, strange, len(identification.details)
