"""Tensors of a checkpoint resized for images of other channels or another size than it was made for."""

import math
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn

FIRST_CONV = 'patch_embed.proj.weight'
_POSITIONS = 'pos_embed'
_TOKENS = ('cls_token', 'dist_token')  # in the order of their rows in the table


def resize_first_conv(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Turn a first convolution for 3 channels into one for as many as the network has; says what was done."""
    if FIRST_CONV not in weights or FIRST_CONV not in own:
        return []
    theirs, channels = weights[FIRST_CONV], own[FIRST_CONV].shape[1]
    if theirs.ndim != 4 or not theirs.shape[1] == 3 != channels:
        return []
    weights[FIRST_CONV] = adapt_input_conv(channels, theirs)
    return [f'{FIRST_CONV} (3 to {channels} channels)']


def resize_positions(weights: dict[str, Tensor], module: nn.Module) -> list[str]:
    """Resize a ViT's position table (bicubic, in float32) to the network's grid, and drop the rows of tokens that the
    network does not have, such as a distilled DeiT's second one; says what was done.

    A table of another width, one without the class token that the network has, and one that is no square grid are left
    as they are, for the loader to refuse.
    """
    theirs, ours = weights.get(_POSITIONS), getattr(module, _POSITIONS, None)
    if theirs is None or ours is None or theirs.ndim != 3 or theirs.shape[::2] != ours.shape[::2]:
        return []
    tokens = [name for name in _TOKENS if name in weights]
    kept = [name for name in _TOKENS if getattr(module, name, None) is not None]
    if not set(kept) <= set(tokens):
        return []
    count, grid = theirs.shape[1] - len(tokens), module.grid
    side = math.isqrt(max(count, 0))
    same = count == math.prod(grid)
    their_grid = grid if same else (side, side)
    if count < 1 or math.prod(their_grid) != count:
        return []
    done = []
    if their_grid != grid:
        theirs = resample_abs_pos_embed(theirs, grid, their_grid, num_prefix_tokens=len(tokens))
        done.append(f'{_POSITIONS} ({their_grid[0]} x {their_grid[1]} to {grid[0]} x {grid[1]})')
    elif side**2 == count and grid[0] != grid[1]:
        # A network's own checkpoint is likelier than a square one with as many positions, but nothing can tell.
        done.append(f'{_POSITIONS} ({count} positions, taken as {grid[0]} x {grid[1]})')
    dropped = [name for name in tokens if name not in kept]
    if dropped:
        rows = [i for i, name in enumerate(tokens) if name in kept]
        theirs = torch.cat((theirs[:, rows], theirs[:, len(tokens) :]), dim=1)
        done.append(f'{_POSITIONS} (without {" and ".join(dropped)})')
    weights[_POSITIONS] = theirs
    return done
