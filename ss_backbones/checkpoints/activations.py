"""The activations of MLPs, which no tensor tells: in the metadata of state dicts, which torch and mmengine keep."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from ..layers.mlp import ACTIVATION, ALL_ACTIVATIONS, activations_of
from ..networks.base import StateDict

_METADATA = '_metadata'  # torch's own name of the attribute


def activations_in(weights: Mapping[str, object], prefix: str = '') -> dict[str, str]:
    """The activation of every MLP under a prefix, by its name after it; none of weights that have no such metadata."""
    metadata = getattr(weights, _METADATA, None) or {}
    found = {
        path: about.get(ACTIVATION)
        for path, about in metadata.items()
        if isinstance(about, Mapping) and f'{path}.'.startswith(prefix)
    }
    return {path[len(prefix) :]: act for path, act in found.items() if isinstance(act, str)}


def with_activations(tensors: Mapping[str, Tensor], activations: Mapping[str, str], prefix: str = '') -> StateDict:
    """The same tensors, with the activations in their metadata as a network's state dict has them.

    Args:
        tensors: By their keys, with the prefix.
        activations: By the names of the MLPs, without it.
        prefix: Where the network stands in the tensors.
    """
    kept = OrderedDict(tensors)
    metadata = {prefix + name: {ACTIVATION: act} for name, act in activations.items()}
    if activations:
        metadata.setdefault(prefix[:-1], {})[ALL_ACTIVATIONS] = dict(activations)
    setattr(kept, _METADATA, OrderedDict(metadata))
    return kept


def other_activations(theirs: Mapping[str, str], module: nn.Module) -> tuple[str, ...]:
    """The MLPs of a network that have another activation than the weights were trained with, in words.

    Args:
        theirs: As :func:`activations_in` has them, under the network's prefix.
        module: The network, or a part of one.
    """
    return tuple(
        f'{name or "the MLP"} ({theirs[name]} in the checkpoint, {act} in the model)'
        for name, act in activations_of(module).items()
        if theirs.get(name, act) != act
    )
