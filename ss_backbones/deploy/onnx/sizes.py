"""Sizes of images in words, and what happens where they are too large."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...errors import ExportError


def as_text(shape: Sequence[int]) -> str:
    """(1, 3, 224, 224) as '1x3x224x224'."""
    return 'x'.join(map(str, shape))


@contextmanager
def memory_for(shape: Sequence[int]) -> Iterator[None]:
    """Say in words that there is too little memory to make or to use float32 images of this shape (B, C, H, W).

    Raises:
        ExportError: There is.
    """
    try:
        yield
    except (MemoryError, RuntimeError, TypeError) as error:  # a size beyond 64 bits is a RuntimeError or a TypeError
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in ('alloc', 'verflow')):
            raise
        raise ExportError(
            f'The memory is too small for images of {as_text(shape)}, which take {math.prod(shape) * 4 / 2**30:,.1f} '
            'GiB before the network has made anything of them. Give a smaller --shape BxHxW.'
        ) from error
