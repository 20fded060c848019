"""What is measured: the input's shape, and how the candidates are run."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..errors import UsageError

LARGEST = 2**31  # numbers of an input: 8 GiB in float32, before any layer


class Shape(NamedTuple):
    """A batch of images in pixels."""

    batch: int
    height: int
    width: int

    def __str__(self) -> str:
        return f'{self.batch} x 3 x {self.height} x {self.width}'

    @property
    def image(self) -> str:
        """The size of an image as timm's tables have it; one number where it is square."""
        return str(self.height) if self.height == self.width else f'{self.height}x{self.width}'

    @classmethod
    def parse(cls, text: str) -> 'Shape':
        """Read BxHxW.

        Raises:
            UsageError: The text says no such thing, or what no machine could run.
        """
        try:
            batch, height, width = map(int, text.split('x'))
        except ValueError:
            raise UsageError(f'{text!r} is no BxHxW such as 1x800x1344.') from None
        if min(batch, height, width) < 1:
            raise UsageError(f'{text!r}: all three must be at least 1.')
        if batch * 3 * height * width > LARGEST:
            raise UsageError(f'{text!r} is too large: B x 3 x H x W may be {LARGEST} at most.')
        return cls(batch, height, width)


@dataclass(frozen=True)
class Plan:
    """How every candidate is run.

    Args:
        mode: 'infer', or 'train' for a step of forward and backward.
        device: 'cpu' or 'cuda'.
        dtype: 'fp32', or 'bf16' for autocast.
        compiled: Run the candidates through torch.compile.
        detector: Measure Mask R-CNN with the candidate as its backbone, in place of the candidate alone.

    Raises:
        UsageError: There is no such device.
    """

    mode: str = 'infer'
    device: str = 'cpu'
    dtype: str = 'fp32'
    compiled: bool = False
    detector: bool = False

    def __post_init__(self) -> None:
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise UsageError('--device cuda: no CUDA device is available here; leave it out to measure the CPU.')

    @property
    def passes(self) -> int:
        """A step's multiply-adds over those of a forward pass; the backward pass counts as two of them."""
        return 3 if self.mode == 'train' else 1

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device, torch.bfloat16) if self.dtype == 'bf16' else nullcontext()

    def wait(self) -> None:
        """Return when the device has done all it was given."""
        if self.device == 'cuda':
            torch.cuda.synchronize()

    def __str__(self) -> str:
        same = ', the same proposals for all' * (self.mode == 'infer')
        what = f'Mask R-CNN with each backbone, random weights{same}' if self.detector else 'features only'
        train = 'training step (forward and backward, counted as three forward passes; no optimizer, no drop path)'
        mode = {'infer': 'inference', 'train': train}[self.mode]
        dtype = {'fp32': 'float32', 'bf16': 'bfloat16 autocast' + ' of the backbone' * self.detector}[self.dtype]
        return ', '.join([dtype, mode, *['compiled'] * self.compiled, what])
