"""Images for inheriting: a seeded choice of a folder tree's, prepared and in batches of one size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from struct import error as StructError

import numpy as np
import torch
from PIL import Image
from timm.data import get_img_extensions
from timm.data.readers.reader_image_folder import find_images_and_targets
from torch import Tensor

from ..errors import DataError

# what Pillow raises for images that are cut or damaged, and mmcv for those that it cannot decode
BROKEN = (OSError, SyntaxError, ValueError, EOFError, AttributeError, StructError, Image.DecompressionBombError)
_MOST_BROKEN = 10


Labelled = tuple[str, int]  # an image's file and its class


def images_below(folder: str) -> list[Labelled]:
    """The images in a folder and the folders below it, in the order of their names; classes are the folders' names.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise DataError(f'{folder} is no folder. Give one with images in it or below it: --images DIR')
    found, _ = find_images_and_targets(folder)
    if not found:
        kinds = ', '.join(get_img_extensions())
        raise DataError(f'{folder} has no image ({kinds}) in it or below it. Give another folder: --images DIR')
    return found


class Images:
    """Batches of prepared images, read anew every time.

    Args:
        files: The images.
        prepare: Makes (C, H, W) of a file.
        batch_size: The most images of a batch; those of a batch have one size.
        dtype: Of the batches.
    """

    def __init__(
        self, files: Sequence[Labelled], prepare: Callable[[str], Tensor], batch_size: int, dtype: torch.dtype
    ) -> None:
        self._files, self._prepare, self._batch_size, self._dtype = list(files), prepare, batch_size, dtype
        self._broken: list[str] = []

    def __len__(self) -> int:
        """How many images there are, without those that could not be read so far."""
        return len(self._files) - len(self._broken)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches (B, C, H, W); see :meth:`labelled`."""
        return (batch for batch, _ in self.labelled())

    def labelled(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (B, C, H, W) and their classes (B,).

        Raises:
            DataError: Too many images cannot be read.
        """
        batch: list[tuple[Tensor, int]] = []
        for image, label in self._readable():
            if batch and (len(batch) == self._batch_size or batch[0][0].shape != image.shape):
                yield _stacked(batch)
                batch = []
            batch.append((image, label))
        if batch:
            yield _stacked(batch)

    def _readable(self) -> Iterator[tuple[Tensor, int]]:
        for file, label in self._files:
            if file in self._broken:
                continue
            try:
                image = self._prepare(file).to(self._dtype)
            except BROKEN as error:
                self._broken.append(file)
                sys.stderr.write(f'{file} cannot be read and is left out: {error}\n')
                if len(self._broken) > _MOST_BROKEN:
                    raise DataError(
                        f'More than {_MOST_BROKEN} images cannot be read, the last is {file}: {error}. Is the disk all '
                        'right?'
                    ) from error
            else:
                yield image, label


def choose(files: Sequence[Labelled], count: int, seed: int) -> list[Labelled]:
    """So many of the files by chance, the same for the same seed; all in another order, if there are fewer."""
    return [files[i] for i in np.random.default_rng(seed).permutation(len(files))[:count]]


def _stacked(batch: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batch, strict=True)
    return torch.stack(images), torch.tensor(labels)
