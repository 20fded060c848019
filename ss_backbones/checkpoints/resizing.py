"""The first convolution of a checkpoint for images of other channels; a network resizes its other tensors itself."""

from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor

FIRST_CONV = 'patch_embed.proj.weight'


def resize_first_conv(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Turn a first convolution for 3 channels into one for as many as the network has; says what was done."""
    if FIRST_CONV not in weights or FIRST_CONV not in own:
        return []
    theirs, channels = weights[FIRST_CONV], own[FIRST_CONV].shape[1]
    if theirs.ndim != 4 or not theirs.shape[1] == 3 != channels:
        return []
    weights[FIRST_CONV] = adapt_input_conv(channels, theirs)
    return [f'{FIRST_CONV} (3 to {channels} channels)']
