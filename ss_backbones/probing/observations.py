"""What the numbers of a probe say about depth, about the two layers and about the order of channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from .record import BlockStatistics
from .rule import BY_CHANCE, SURE
from .statistics import Floats

DEPTHS = 'Do depths differ?'
LAYERS = 'Does GL1 differ from GL2 in the same block?'
ORDER = 'Do the weights rise or fall along the channel index?'
_LEVEL = 0.01  # of the Kolmogorov-Smirnov test
_DIGITS = 9  # what is equal up to rounding must be equal, as ranks are compared


@dataclass(frozen=True)
class Distances:
    """Kolmogorov-Smirnov distances between blocks.

    Args:
        values: (N, N), in [0, 1].
        above: (N, N), which are above chance at the 1% level.
    """

    values: Floats
    above: NDArray[np.bool_]

    def __str__(self) -> str:
        count = len(self.values)
        return f'{np.triu(self.above, 1).sum()} of {count * (count - 1) // 2} pairs'


def between_blocks(weights: Sequence[Floats]) -> Distances:
    """The distances between the distributions of the weights of each block, (H,) each, divided by their size."""
    scaled = [_scaled(block) for block in weights]
    values = np.zeros((len(scaled), len(scaled)))
    above = np.zeros_like(values, dtype=bool)
    for i, j in zip(*np.tril_indices_from(values, -1), strict=True):
        values[i, j], above[i, j] = _distance(scaled[i], scaled[j])
    return Distances(values + values.T, above | above.T)


def between_layers(weights: Mapping[str, tuple[Floats, Floats]]) -> dict[str, tuple[float, bool]]:
    """The distance between GL1 and GL2 of each block, and whether it is above chance.

    Args:
        weights: Of GL1 and GL2, (H,) each, by block.
    """
    return {name: _distance(_scaled(gl1), _scaled(gl2)) for name, (gl1, gl2) in weights.items()}


def steep(blocks: Sequence[BlockStatistics]) -> list[tuple[str, str]]:
    """The blocks and layers whose weights have a slope along the channels, beyond three standard errors."""
    layers = [(block.name, name, layer) for block in blocks for name, layer in (('GL1', block.gl1), ('GL2', block.gl2))]
    return [(block, name) for block, name, layer in layers if abs(layer.slope) > SURE * layer.slope_error]


def sentences(
    blocks: Sequence[BlockStatistics], distances: Mapping[str, Distances], layers: Mapping[str, tuple[float, bool]]
) -> dict[str, str]:
    """The observations in words, by the question that they answer.

    Args:
        blocks: The statistics.
        distances: Between the blocks, by layer.
        layers: What :func:`between_layers` found.
    """
    count, texts = len(blocks), {}
    if count > 1:
        texts[DEPTHS] = ' '.join(
            f'{layer}: {found} of blocks differ by more than chance, the largest distance is {found.values.max():.2f}.'
            for layer, found in distances.items()
        )
    texts[LAYERS] = (
        f'In {sum(above for _, above in layers.values())} of {count} blocks by more than chance; the distances are '
        f'{_range([distance for distance, _ in layers.values()])}. The sizes of the two weights of a channel are '
        f'correlated by {_range([block.correlation for block in blocks])}.'
    )
    found = [f'{layer} of {name}' for name, layer in steep(blocks)]
    texts[ORDER] = (
        f'{len(found)} of {2 * count} slopes are beyond {SURE:g} standard errors{": " * bool(found)}{", ".join(found)}.'
        f' By chance alone {2 * count * BY_CHANCE:.2g} of {2 * count} would be, on average.'
    )
    return texts


def shown(value: float, digits: int = 2) -> str:
    """A number in words, with so many digits after the point, and never '-0.00'."""
    return f'{round(value, digits) + 0.0:.{digits}f}'


def _range(values: Sequence[float]) -> str:
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f'{low} to {high}'


def _scaled(weights: Floats) -> Floats:
    size = np.sqrt((weights**2).mean())
    return np.round(weights / size, _DIGITS) if size else weights


def _distance(a: Floats, b: Floats) -> tuple[float, bool]:
    found = ks_2samp(a, b, method='asymp')  # the exact one takes minutes for all pairs of a deep network
    return float(found.statistic), bool(found.pvalue < _LEVEL)
