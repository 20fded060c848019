"""Position tables of checkpoints for images of another size."""

import math

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

POSITIONS = 'pos_embed'
_TOKENS = ('cls_token', 'dist_token')  # in the order of their rows in the table


def resize_positions(weights: dict[str, Tensor], module: nn.Module) -> list[str]:
    """Resize a position table (bicubic, in float32) to the network's grid, and drop the rows of tokens that the network
    does not have, such as a distilled DeiT's second one.

    A table of another width, one without the class token that the network has, and one that is no square grid are left
    as they are, for the loader to refuse.

    Args:
        weights: A checkpoint's tensors in this package's keys; the table in it is replaced.
        module: The network, with ``pos_embed`` (1, tokens + h * w, C) and ``grid`` (h, w).

    Returns:
        What was done, in words.
    """
    theirs, ours = weights.get(POSITIONS), getattr(module, POSITIONS, None)
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
        done.append(f'{POSITIONS} ({their_grid[0]} x {their_grid[1]} to {grid[0]} x {grid[1]})')
    elif side**2 == count and grid[0] != grid[1]:
        # A network's own checkpoint is likelier than a square one with as many positions, but nothing can tell.
        done.append(f'{POSITIONS} ({count} positions, taken as {grid[0]} x {grid[1]})')
    dropped = [name for name in tokens if name not in kept]
    if dropped:
        rows = [i for i, name in enumerate(tokens) if name in kept]
        theirs = torch.cat((theirs[:, rows], theirs[:, len(tokens) :]), dim=1)
        done.append(f'{POSITIONS} (without {" and ".join(dropped)})')
    weights[POSITIONS] = theirs
    return done
