"""Work on a map some rows at a time, so that what lies between stays in the processor's cache."""

from collections.abc import Callable, Collection, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .fast_paths import has_hooks, is_traced

# Of what a function makes inside one chunk; about the second-level cache of two cores.
CHUNK_BYTES = 2 * 1024**2
# Where no layer looks at neighbours the gain is memory that is used again, less the cache: larger chunks, fewer calls.
WITHOUT_HALO = 4
# Where the backward pass computes a chunk again: what is kept of the others grows with their number, and a GPU wants
# large kernels.
RECOMPUTED_BYTES_ON_CPU = 8 * 1024**2
RECOMPUTED_BYTES_ON_GPU = 64 * 1024**2
# With fewer rows at a time the halo would be most of the work.
_FEWEST_ROWS = 8


def chunks_pay(module: nn.Module, x: Tensor, kinds: Collection[type[nn.Module]]) -> bool:
    """Whether a module had better work on a map in row chunks: on a CPU, for inference, where nothing is kept.

    Fresh memory is dear there, as the system hands it out page by page; a GPU keeps its own stock and wants few, large
    kernels. Compilers, tracers, hooks and replaced forwards of the layers inside are given the whole map, and so is a
    layer of any class that is not in ``kinds``: it may look further than some rows.
    """
    inference = not (module.training or torch.is_grad_enabled())
    return x.device.type == 'cpu' and inference and can_be_cut(module, kinds)


def can_be_cut(module: nn.Module, kinds: Collection[type[nn.Module]]) -> bool:
    """Whether nobody would see that the layers inside a module get a map in row chunks; see :func:`chunks_pay`."""
    if is_traced():
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
    size = CHUNK_BYTES if halo else WITHOUT_HALO * CHUNK_BYTES
    out = None
    for images, first, last, part in _by_chunks(function, x, halo, channels, size):
        if len(part) == len(x) and part.shape[1] == x.shape[1]:
            return part
        if out is None:
            out = part.new_empty((*x.shape[:2], *part.shape[2:]))
        out[images, first:last] = part
    return out


def recomputed_in_row_chunks(
    function: Callable[[Tensor, slice | None], Tensor], x: Tensor, *, halo: int, channels: int
) -> Tensor:
    """As :func:`in_row_chunks`, for training: the backward pass computes one chunk after the other again.

    ``function`` may draw no random numbers.
    """
    size = RECOMPUTED_BYTES_ON_CPU if x.device.type == 'cpu' else RECOMPUTED_BYTES_ON_GPU
    again = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
    by_images: dict[int, list[Tensor]] = {}
    for images, _, _, part in _by_chunks(again, x, halo, channels, size):
        by_images.setdefault(images.start, []).append(part)
    return torch.cat([torch.cat(parts, dim=1) for parts in by_images.values()])


def _by_chunks(
    function: Callable[[Tensor, slice | None], Tensor], x: Tensor, halo: int, channels: int, size: int
) -> Iterator[tuple[slice, int, int, Tensor]]:
    """Which images and rows, from one up to another, with what ``function`` makes of them."""
    batch, height, width, _ = x.shape
    rows = max(_FEWEST_ROWS, size // max(1, width * channels * x.element_size()))
    if rows >= batch * height:
        yield slice(0, batch), 0, height, function(x, None)
        return
    images = max(1, rows // height)
    for image in range(0, batch, images):
        for first in range(0, height, rows):
            last = min(first + rows, height)
            above, below = min(halo, first), min(halo, height - last)
            some = slice(image, image + images)
            part = function(x[some, first - above : last + below], slice(above, above + last - first))
            yield some, first, last, part
