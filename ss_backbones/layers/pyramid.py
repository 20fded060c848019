"""Pyramids of maps out of the maps of a plain vision transformer, which all have one resolution."""

from collections.abc import Callable, Sequence

from timm.layers import LayerNorm2d
from torch import Tensor, nn

LEVELS = 4


class FeaturePyramid(nn.Module):
    """Maps at several resolutions, each twice as coarse as the one before it, a module each.

    A level that is finer than the map that it is made of is made by transposed convolutions, one for each factor 2, and
    a coarser one by a maximum. A level has the same state-dict keys whichever others are there.

    Args:
        dim: Channels C of the maps that come in.
        levels: The wanted levels, 0 to 3; the others are not built.
        finest: How many times the first level's sides are doubled.

    Attributes:
        channels: Channels of the wanted levels.
    """

    def __init__(self, dim: int, levels: Sequence[int], finest: int = 2) -> None:
        super().__init__()
        steps = {level: finest - level for level in levels}
        self.levels = nn.ModuleDict({str(i): self._finer(dim, n) if n > 0 else _coarser(-n) for i, n in steps.items()})
        self.channels = [self._width(dim, max(n, 0)) for n in steps.values()]

    def _finer(self, dim: int, times: int) -> nn.Module:
        """A level whose sides are doubled so many times."""
        raise NotImplementedError

    def _width(self, dim: int, times: int) -> int:
        """Its channels."""
        return dim


class SimpleFeaturePyramid(FeaturePyramid):
    """All levels are made of the last map; those that are finer have fewer channels: C // 4, C // 2, C, C.

    Between two transposed convolutions are a LayerNorm and a GELU.

    Args:
        dim: See :class:`FeaturePyramid`; at least 4.
        levels: See :class:`FeaturePyramid`.
        finest: See :class:`FeaturePyramid`.

    Raises:
        ValueError: ``dim`` is too small to be quartered.

    Source: ViTDet, arXiv 2203.16527, section 3 (its 1 x 1 and 3 x 3 convolutions are left to the neck that follows).
    """

    def __init__(self, dim: int, levels: Sequence[int], finest: int = 2) -> None:
        if dim < 4:
            raise ValueError(f'A pyramid quarters the channels, but there are {dim}; take 4 or more, or pyramid=False.')
        super().__init__(dim, levels, finest)

    def _finer(self, dim: int, times: int) -> nn.Module:
        return _doubling(dim, times, self._width, lambda width: LayerNorm2d(width, eps=1e-6))

    def _width(self, dim: int, times: int) -> int:
        return dim // 2**times

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, h, w) to one map for each wanted level."""
        return [level(x) for level in self.levels.values()]


class BlockPyramid(FeaturePyramid):
    """Each level is made of the map after a block of its own; all have C channels.

    Between two transposed convolutions are a BatchNorm and a GELU.

    Args:
        dim: See :class:`FeaturePyramid`.
        levels: See :class:`FeaturePyramid`.
        finest: See :class:`FeaturePyramid`.

    Source: XCiT, arXiv 2106.09681, section 4.3; BEiT's segmenters do it so as well.
    """

    def _finer(self, dim: int, times: int) -> nn.Module:
        made = _doubling(dim, times, lambda dim, _: dim, nn.BatchNorm2d)
        return made if isinstance(made, nn.Sequential) else nn.Sequential(made)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One (B, C, h, w) for each wanted level to its map."""
        return [level(x) for level, x in zip(self.levels.values(), maps, strict=True)]


def _doubling(
    dim: int, times: int, width: Callable[[int, int], int], norm: Callable[[int], nn.Module]
) -> nn.ConvTranspose2d | nn.Sequential:
    """So many transposed convolutions, with a norm and a GELU between two."""
    layers: list[nn.Module] = []
    for i in range(times):
        before, after = width(dim, i), width(dim, i + 1)
        layers += [norm(before), nn.GELU()] if i else []
        layers.append(nn.ConvTranspose2d(before, after, kernel_size=2, stride=2))
    return layers[0] if times == 1 else nn.Sequential(*layers)


def _coarser(times: int) -> nn.Module:
    """The maximum of so many halvings of the sides; a map of 1 x 1 has a half as well."""
    side = 2**times
    return nn.MaxPool2d(kernel_size=side, stride=side, ceil_mode=True) if times else nn.Identity()
