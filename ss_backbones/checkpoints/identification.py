"""Which of the known networks a set of weights is of, by keys, shapes and ramps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import timm
import torch
from torch import Tensor

from .loading import HEAD, LoadReport, compare
from ..layers import Block
from .key_maps import StateDict
from ..timm_models.registration import DEFAULTS

_KINDS = (('specific', ''), ('uniform', ''), ('uniform', 'dfc'))  # settings and MLPs
# What follows from the data and not from the network: the dimension that may differ, and what it counts.
_FREE = {'head.weight': (0, 'classes'), 'patch_embed.proj.weight': (1, 'channels'), 'pos_embed': (1, 'positions')}


@dataclass(frozen=True)
class Network:
    """A known network.

    Args:
        name: Its timm name.
        settings: Its settings.
        mlp: The kind of its MLPs, where it is not the model's own; or nothing.
        state: Its state dict; the ramps have values, the other tensors only shapes.
    """

    name: str
    settings: str
    mlp: str
    state: StateDict


@dataclass(frozen=True)
class Recognition:
    """The known network that is nearest to a set of weights.

    Args:
        network: It.
        details: How the weights may differ from it, such as '10 classes'.
        report: The weights held against it, but for these details.
        fits: Whether every tensor matches and its parts have no more of them.
    """

    network: Network
    details: tuple[str, ...]
    report: LoadReport
    fits: bool

    def __str__(self) -> str:
        network = self.network
        mlp = [f'mlp={network.mlp!r}'] if network.mlp else []
        return f'{network.name} ({", ".join((f"settings={network.settings!r}", *mlp, *self.details))})'


@cache
def known_networks() -> tuple[Network, ...]:
    """Every registered model with the specific and the uniform settings, and with DFC MLPs."""
    # those of a model's own come first, as the first of equals is found
    own = [(name, defaults['settings'], '') for name, defaults in DEFAULTS.items() if defaults]
    others = [(name, *kind) for kind in _KINDS for name, defaults in DEFAULTS.items() if not defaults]
    return tuple(_build(*which) for which in (*own, *others))


def recognise(weights: Mapping[str, Tensor], source: str) -> Recognition:
    """Find the nearest known network.

    Args:
        weights: A state dict in this package's keys.
        source: Where it came from.
    """
    return min((_held_against(network, weights, source) for network in known_networks()), key=_distance)


def _build(name: str, settings: str, mlp: str) -> Network:
    with torch.device('meta'):  # no memory, no initialisation
        model = timm.create_model(name, settings=settings, **(dict(mlp=mlp) if mlp else {}))
    state = model.state_dict()
    blocks = [key for key, module in model.named_modules() if isinstance(module, Block)]
    for key, setting in zip(blocks, model.settings, strict=True):
        ramp = f'{key}.mlp.pos_bias'
        if ramp in state:  # without values there, but these follow from the settings
            state[ramp] = torch.linspace(0, setting.pos_scale, state[ramp].numel())
    return Network(name, settings, mlp, state)


def _held_against(network: Network, weights: Mapping[str, Tensor], source: str) -> Recognition:
    own, details = dict(network.state), []
    for key, (dim, what) in _FREE.items():
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
    report = compare(weights, own, source)
    return Recognition(network, tuple(details), report, _fits(report))


def _fits(report: LoadReport) -> bool:
    parts = {key.split('.')[0] for key in report.matched}
    more = any(key.split('.')[0] in parts for key in report.unexpected)  # outside of them there may be a pyramid
    return not (report.missing or report.wrong_shape or more)


def _distance(recognition: Recognition) -> tuple[bool, int, int]:
    report = recognition.report
    # A tensor of another shape is half as strange as one that is not there at all.
    strange = 2 * len(report.missing + report.unexpected) + len(report.wrong_shape)
    return not recognition.fits, strange, len(recognition.details)
