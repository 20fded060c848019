"""A pyramid of maps out of the one map of a plain vision transformer."""

from collections.abc import Sequence

from timm.layers import LayerNorm2d
from torch import Tensor, nn

LEVELS = 4


class SimpleFeaturePyramid(nn.Module):
    """Maps at 4, 2, 1 and 1/2 times the resolution of the one that comes in.

    The first level is two transposed convolutions with LayerNorm and GELU between, the second is one, the third is the
    map itself and the fourth its 2 x 2 maximum.

    Args:
        dim: Channels C of the map, at least 4.
        levels: The wanted levels, 0 to 3; the others are not built. A level has the same state-dict keys whichever
            others are there.

    Attributes:
        channels: Channels of the wanted levels: C // 4, C // 2, C, C.

    Raises:
        ValueError: ``dim`` is too small to be quartered.

    Source: ViTDet, arXiv 2203.16527, section 3 (its 1 x 1 and 3 x 3 convolutions are left to the neck that follows).
    """

    def __init__(self, dim: int, levels: Sequence[int]) -> None:
        super().__init__()
        if dim < 4:
            raise ValueError(f'A pyramid quarters the channels, but there are {dim}; take 4 or more, or pyramid=False.')
        half, quarter = dim // 2, dim // 4
        makers = (
            lambda: nn.Sequential(
                nn.ConvTranspose2d(dim, half, kernel_size=2, stride=2),
                LayerNorm2d(half, eps=1e-6),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, kernel_size=2, stride=2),
            ),
            lambda: nn.ConvTranspose2d(dim, half, kernel_size=2, stride=2),
            nn.Identity,
            lambda: nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True),  # a map of 1 x 1 has a half as well
        )
        self.levels = nn.ModuleDict({str(level): makers[level]() for level in levels})
        self.channels = [(quarter, half, dim, dim)[level] for level in levels]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, h, w) to one map for each wanted level."""
        return [level(x) for level in self.levels.values()]
