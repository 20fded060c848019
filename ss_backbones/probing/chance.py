"""Whether the blocks of a probe differ by more than the noise of what was measured."""

from collections.abc import Sequence

import torch

_ROUNDING = 1e-9  # of the largest value


def probability(values: Sequence[float], errors: Sequence[float], channels: Sequence[int]) -> float:
    """How likely blocks that are alike come out as different as these, by a chi-square test; 1 for a single one.

    The error of one block has much noise itself, so that of a channel is taken from all blocks together.

    Args:
        values: A mean over the hidden channels of each block.
        errors: Its standard error.
        channels: How many channels it is over.
    """
    value, error, count = (torch.tensor(list(column), dtype=torch.float64) for column in (values, errors, channels))
    deviation = value - (value * count).sum() / count.sum()
    if len(values) < 2 or deviation.abs().max() <= _ROUNDING * value.abs().max():
        return 1.0
    noise = (error.square() * count).mean()  # the variance of one channel
    chi_square = (deviation.square() * count).sum() / noise  # infinite without noise
    return torch.special.gammaincc(torch.tensor((len(values) - 1) / 2, dtype=torch.float64), chi_square / 2).item()
