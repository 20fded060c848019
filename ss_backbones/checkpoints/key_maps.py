"""The state-dict keys of other projects' checkpoints, turned into this package's and back; networks have the maps."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..networks.base import KeyMap, StateDict
from ..networks.catalog import families


def all_key_maps() -> tuple[KeyMap, ...]:
    """The maps of every family in the catalog."""
    return tuple(key_map for network in families().values() for key_map in network.key_maps)


def computed_keys() -> tuple[str, ...]:
    """Ends of the keys of what other projects save although it follows from the sizes."""
    return tuple(end for network in families().values() for end in network.computed_keys)


def to_own_keys(weights: Mapping[str, Tensor], maps: Sequence[KeyMap] | None = None) -> StateDict:
    """Rename the keys of every layout that the maps (None: all) know; a new dict with the same tensors, or views.

    What follows from the sizes is dropped.
    """
    renamed = dict(weights)
    for key_map in all_key_maps() if maps is None else maps:
        renamed = key_map(renamed)
    computed = computed_keys()
    return {key: value for key, value in renamed.items() if not key.endswith(computed)}


def to_official_keys(weights: Mapping[str, Tensor]) -> StateDict:
    """The keys of official code where it has others than this package; a new dict."""
    renamed = dict(weights)
    for key_map in dict.fromkeys(key_map for network in families().values() for key_map in network.official_keys):
        renamed = key_map(renamed)
    return renamed
