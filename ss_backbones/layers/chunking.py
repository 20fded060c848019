"""Work on a map some rows at a time, so that what lies between stays in the processor's cache."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from .fast_paths import has_hooks, is_traced

# Of what a function makes inside one chunk; about the second-level cache of two cores.
CHUNK_BYTES = 2 * 1024**2
# Where no layer looks at neighbours the gain is memory that is used again, less the cache: larger chunks, fewer calls.
WITHOUT_HALO = 4
# With fewer rows at a time the halo would be most of the work.
_FEWEST_ROWS = 8


def chunks_pay(module: nn.Module, x: Tensor, kinds: Collection[type[nn.Module]]) -> bool:
    """Whether a module had better work on a map in row chunks: on a CPU, for inference, where nothing is kept.

    Fresh memory is dear there, as the system hands it out page by page; a GPU keeps its own stock and wants few, large
    kernels. Compilers, tracers, hooks and replaced forwards of the layers inside are given the whole map, and so is a
    layer of any class that is not in ``kinds``: it may look further than some rows.
    """
    inference = not (module.training or torch.is_grad_enabled())
    if x.device.type != 'cpu' or not inference or is_traced():
        return False
    inside = list(module.modules())[1:]
    expected = all(type(layer) in kinds and 'forward' not in vars(layer) for layer in inside)
    return expected and not has_hooks(*inside)


def in_row_chunks(function: Callable[[Tensor, slice | None], Tensor], x: Tensor, *, halo: int, channels: int) -> Tensor:
    """What ``function`` makes of a map, made of several images or of some rows of one at a time.

    Args:
        function: Takes (b, h, W, C) and the rows that are asked for (None for all), returns (b, those rows, W, D). A
            row of its result depends on ``halo`` rows above and below it alone, with zeros beyond the map.
        x: (B, H, W, C).
        halo: Rows above and below.
        channels: The widest that ``function`` gets inside.

    Returns:
        (B, H, W, D).
    """
    batch, height, width, _ = x.shape
    size = CHUNK_BYTES if halo else WITHOUT_HALO * CHUNK_BYTES
    rows = max(_FEWEST_ROWS, size // max(1, width * channels * x.element_size()))
    if rows >= batch * height:
        return function(x, None)
    images = max(1, rows // height)
    out = None
    for image in range(0, batch, images):
        for first in range(0, height, rows):
            last = min(first + rows, height)
            above, below = min(halo, first), min(halo, height - last)
            chunk = x[image : image + images, first - above : last + below]
            part = function(chunk, slice(above, above + last - first))
            if out is None:
                out = part.new_empty((batch, height, *part.shape[2:]))
            out[image : image + images, first:last] = part
    return out
