"""The first convolution of a checkpoint for images of other channels; a network resizes its other tensors itself."""

from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor

from ..networks.catalog import families


def first_convs() -> tuple[str, ...]:
    """The key of the first convolution in every family."""
    return tuple({f'{network.first_conv}.weight': None for network in families().values()})


def resize_first_conv(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Turn a first convolution for 3 channels into one for as many as the network has; says what was done."""
    key = next((key for key in first_convs() if key in weights and key in own), None)
    if key is None:
        return []
    theirs, channels = weights[key], own[key].shape[1]
    if theirs.ndim != 4 or not theirs.shape[1] == 3 != channels:
        return []
    weights[key] = adapt_input_conv(channels, theirs)
    return [f'{key} (3 to {channels} channels)']
