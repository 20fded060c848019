"""The tokens of many images, kept in files, so that the memory that is needed does not grow with the images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ..errors import OutputError

Layout = tuple[object, ...]


class Streams:
    """Named tensors of every batch of images.

    Args:
        folder: Where they are kept.
        device: Where they are needed.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder, self._device = folder, device
        self._layouts: list[Layout] = []

    def append(self, layout: Layout, **tensors: Tensor) -> None:
        """One more batch, and what its blocks get beside the tokens.

        Raises:
            OutputError: The disk is full.
        """
        self._layouts.append(layout)
        for name, tensor in tensors.items():
            self._write(name, len(self._layouts) - 1, tensor)

    def read(self, *names: str) -> Iterator[tuple[Layout, ...]]:
        """Of every batch its layout and the tensors of these names."""
        for number, layout in enumerate(self._layouts):
            files = [self._file(name, number) for name in names]
            yield layout, *(torch.load(file, weights_only=True, map_location=self._device) for file in files)

    def update(self, name: str, make: Callable[..., Tensor], *taken: str) -> None:
        """Write under a name what a function makes of every batch's layout and tensors of other names.

        Raises:
            OutputError: The disk is full.
        """
        for number, batch in enumerate(self.read(*taken)):
            self._write(name, number, make(*batch))

    def rename(self, old: str, new: str) -> None:
        """Put what stands under a name in the place of what stands under another."""
        for number in range(len(self._layouts)):
            self._file(old, number).replace(self._file(new, number))

    def _file(self, name: str, number: int) -> Path:
        return self._folder / f'{name}-{number}.pt'

    def _write(self, name: str, number: int, tensor: Tensor) -> None:
        try:
            torch.save(tensor.contiguous(), self._file(name, number))
        except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of a full disk
            free = shutil.disk_usage(self._folder).free / 2**20
            raise OutputError(
                f'The tokens of the images cannot be kept in {self._folder} ({free:.0f} MiB are free): {error}. Set '
                'TMPDIR to a folder on a larger disk, or take fewer or smaller images.'
            ) from error


@contextmanager
def temporary_streams(device: torch.device) -> Iterator[Streams]:
    """Streams in a folder for temporary files, which is gone afterwards."""
    with TemporaryDirectory(prefix='ss-backbones-') as folder:
        yield Streams(Path(folder), device)


def error_after(streams: Streams, before: str, after: str, other: str) -> float:
    """How far tokens are from others, as a share of what these have become: mean squares.

    Args:
        streams: The tokens.
        before: The name of what the others were.
        after: The name of what they have become.
        other: The name of the tokens that are held against that.
    """
    error = change = 0.0
    for _, was, became, held in streams.read(before, after, other):
        error += (became - held).double().square().sum().item()
        change += (became - was).double().square().sum().item()
    return error / change if change else 0.0
