"""The statistics of a DFC block, from its weights alone."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ProbeError
from .record import BlockStatistics, LayerStatistics

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # of float64, as a share of the largest weight, with a margin: checkpoints are coarser by far
_CONSTANT = 0.1  # a gate that varies by a smaller share of its mean square is nearly a constant


def layer_weights(block: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
    """The weights of GL1 and of GL2, (H,) each, in the order of the hidden channels."""
    gl1, gl2 = (_floats(block[f'mlp.dfc.{name}.weight']).ravel() for name in ('gl1', 'gl2'))
    return gl1, gl2


def block_statistics(name: str, block: Mapping[str, Tensor]) -> BlockStatistics:
    """All of a block.

    Args:
        name: Its place in the network.
        block: Its tensors, by their keys in it, as :func:`~ss_backbones.probing.reading.read` gives them.

    Raises:
        ProbeError: The weights are so large that the gates overflow.
    """
    gl1, gl2 = layer_weights(block)
    with np.errstate(over='ignore', invalid='ignore'):  # the check below says it in words
        mean, std = gate_moments(block)
        size = np.hypot(std, mean)
    if not np.isfinite(size).all():
        raise ProbeError(f'{name}: its weights are so large that its gates overflow. Did the training diverge?')
    varying = np.divide(std, size, out=np.zeros_like(size), where=size > 0) ** 2
    hidden, dim = block['mlp.fc1.weight'].shape
    return BlockStatistics(
        name=name,
        dim=dim,
        hidden=hidden,
        gl1=layer_statistics(gl1),
        gl2=layer_statistics(gl2),
        gate_swing=float(varying.mean()),
        pass_through=float(((varying < _CONSTANT) & (mean != 0)).mean()),
        correlation=_correlation(np.abs(gl1), np.abs(gl2)),
        swing_error=float(varying.std() / math.sqrt(hidden)),
    )


def layer_statistics(weights: Floats) -> LayerStatistics:
    """Of the weights (H,) of one grouped linear layer, H at least 2; if all are 0, no channel matters."""
    count, sizes = len(weights), np.abs(weights)
    largest = sizes.max()
    if largest == 0:
        return LayerStatistics(1.0, 1 / count, slope=0.0, slope_error=0.0, balance=0.0, size=0.0)
    slope, _, error = line(weights)
    mean_size, balance = sizes.mean(), weights.sum() / sizes.sum()
    sizes = sizes / largest  # so that no power of a tiny weight becomes 0
    squares, root = sizes**2, math.sqrt(count)
    sparsity = (root - sizes.sum() / math.sqrt(squares.sum())) / (root - 1)
    share = float(np.clip(squares.sum() ** 2 / (count * (squares**2).sum()), 0, 1))
    # the share is a quotient of two means: by the delta method, what each channel adds to its logarithm
    parts = 2 * squares / squares.mean() - squares**2 / (squares**2).mean()
    return LayerStatistics(
        sparsity=float(np.clip(sparsity, 0, 1)),  # rounding may leave the range
        effective_share=share,
        slope=float(slope / mean_size),
        slope_error=float(error / mean_size),
        balance=float(np.clip(balance, -1, 1)),
        size=float(largest * math.sqrt(squares.mean())),
        share_error=float(share * parts.std() / root),
    )


def line(weights: Floats) -> tuple[float, float, float]:
    """The straight line through the weights (H,) by least squares.

    Returns:
        How much it rises from the first channel to the last, its value at the first, the rise's standard error.
    """
    place, deviation = np.linspace(-0.5, 0.5, len(weights)), _deviations(weights)
    spread = (place**2).sum()
    slope = (place * deviation).sum() / spread
    variance = ((deviation - slope * place) ** 2).sum() / max(1, len(weights) - 2)
    return float(slope), float(weights.mean() - slope / 2), math.sqrt(variance / spread)


def gate_moments(block: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
    """Mean and standard deviation (H,) of each gate over tokens.

    The norm's tokens, before its scale and shift, are taken to have independent entries of mean 0 and variance 1. All
    from there to the gates is linear. Of a depthwise convolution each kernel's sum is taken: what it does to a map that
    is the same at neighbouring places.
    """
    w = {key: _floats(tensor) for key, tensor in block.items()}
    mean = w['mlp.fc1.weight'] @ w['norm2.bias'] + w['mlp.fc1.bias']
    linear = w['mlp.fc1.weight'] * w['norm2.weight']
    if 'mlp.dwconv.weight' in w:
        kernel = w['mlp.dwconv.weight'].sum((1, 2, 3))
        mean, linear = kernel * mean + w['mlp.dwconv.bias'], kernel[:, None] * linear
    gl1 = w['mlp.dfc.gl1.weight']
    sums = (gl1[..., None] * linear.reshape(*gl1.shape, -1)).sum(1)
    sums_mean = (gl1 * mean.reshape(gl1.shape)).sum(1) + w['mlp.dfc.gl1.bias']
    gate = w['mlp.dfc.gate.weight']
    return gate @ sums_mean + w['mlp.dfc.gate.bias'], np.linalg.norm(gate @ sums, axis=1)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 where one of them is constant."""
    a, b = _deviations(a), _deviations(b)
    if not a.any() or not b.any():
        return 0.0
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()), -1, 1))


def _deviations(values: Floats) -> Floats:
    """From the mean; exactly 0 where they are rounding, which would make a slope or a correlation of a constant."""
    deviation = values - values.mean()
    return np.zeros_like(values) if np.abs(deviation).max() <= _ROUNDING * np.abs(values).max() else deviation


def _floats(tensor: Tensor) -> Floats:
    return tensor.detach().double().numpy()
