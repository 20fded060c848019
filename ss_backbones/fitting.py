"""Fit tensors of a checkpoint to a network for images of other channels or another size."""

import math
from collections.abc import Mapping

from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn

_FIRST_CONV = 'patch_embed.proj.weight'
_POSITIONS = 'pos_embed'
_CLASS_TOKEN = 'cls_token'


def fit_first_conv(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Turn a first convolution for 3 channels into one for as many as the network has; says what was done."""
    if _FIRST_CONV not in weights or _FIRST_CONV not in own:
        return []
    theirs, channels = weights[_FIRST_CONV], own[_FIRST_CONV].shape[1]
    if theirs.ndim != 4 or not theirs.shape[1] == 3 != channels:
        return []
    weights[_FIRST_CONV] = adapt_input_conv(channels, theirs)
    return [f'{_FIRST_CONV} (3 to {channels} channels)']


def fit_positions(weights: dict[str, Tensor], module: nn.Module) -> list[str]:
    """Resize a ViT's position table (bicubic, in float32) to the network's grid, and drop the class token's row where
    the network has no class token; says what was done.

    A table of another width, one without the class token that the network has, and one that is no square grid are left
    as they are, for the loader to refuse.
    """
    theirs, ours = weights.get(_POSITIONS), getattr(module, _POSITIONS, None)
    if theirs is None or ours is None or theirs.ndim != 3 or theirs.shape[::2] != ours.shape[::2]:
        return []
    their_prefix, our_prefix = int(_CLASS_TOKEN in weights), int(module.cls_token is not None)
    if our_prefix > their_prefix:
        return []
    count, grid = theirs.shape[1] - their_prefix, module.grid
    side = math.isqrt(max(count, 0))
    # as many positions as here: of the same grid, which may be no square
    their_grid = grid if count == math.prod(grid) else (side, side)
    if count < 1 or math.prod(their_grid) != count:
        return []
    done = []
    if their_grid != grid:
        theirs = resample_abs_pos_embed(theirs, grid, their_grid, num_prefix_tokens=their_prefix)
        done.append(f'{_POSITIONS} ({their_grid[0]} x {their_grid[1]} to {grid[0]} x {grid[1]})')
    if our_prefix < their_prefix:
        theirs = theirs[:, their_prefix:]
        done.append(f'{_POSITIONS} (without the class token)')
    weights[_POSITIONS] = theirs
    return done
