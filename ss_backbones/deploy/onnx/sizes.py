"""Sizes of images in words, and those that no memory holds."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ExportError


@dataclass(frozen=True)
class ImageSize:
    """The height and width of images in pixels, and in words why these."""

    height: int
    width: int
    reason: str


def as_text(shape: Sequence[int]) -> str:
    """(1, 3, 224, 224) as '1x3x224x224'."""
    return 'x'.join(map(str, shape))


def check_memory(shape: Sequence[int]) -> None:
    """Whether float32 images of this shape (B, C, H, W) go into this machine's memory.

    Raises:
        ExportError: They do not.
    """
    needed = 4 * math.prod(shape)
    if needed > os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'):
        raise ExportError(
            f'The memory is too small for images of {as_text(shape)}, which take {needed / 2**30:,.1f} GiB before the '
            'network has made anything of them. Give a smaller --shape BxHxW.'
        )
