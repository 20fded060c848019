"""Positions of tokens as sines and cosines, for maps of any size."""

import math

import torch
from torch import Tensor, fx, nn

_SLOWEST = 10000.0  # the longest wave is so many times as long as the map
_TINY = 1e-6


class FourierPositions(nn.Module):
    """Sines and cosines of height and width, 2 pi over the whole map at the fastest, projected to the tokens' channels.

    Args:
        dim: Channels C.
        waves: Sines and cosines of each direction, an even number.

    Source: XCiT (arXiv 2106.09681, section 4.1); the waves are those of "Attention is all you need" (arXiv 1706.03762,
    section 3.5), made in float32.
    """

    def __init__(self, dim: int, waves: int = 32) -> None:
        super().__init__()
        self.waves = waves
        self.token_projection = nn.Conv2d(2 * waves, dim, kernel_size=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """The positions (1, h * w, C) for tokens on a grid of h x w, in their dtype and on their device."""
        waves = _make_waves(tokens, *grid, self.waves)
        return self.token_projection(waves).flatten(2).transpose(1, 2)


@fx.wrap  # torch.fx knows no sizes to make them by
def _make_waves(like: Tensor, height: int, width: int, waves: int) -> Tensor:
    """(1, 2 * waves, height, width), those of the height first."""
    number = torch.arange(waves, device=like.device, dtype=torch.float32)
    lengths = _SLOWEST ** (2 * (number // 2) / waves)
    sides = []
    for side in (height, width):
        place = torch.arange(1, side + 1, device=like.device, dtype=torch.float32)
        place = place / (side + _TINY) * (2 * math.pi)
        angles = place[:, None] / lengths
        sides.append(torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1))
    rows, columns = sides
    both = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
    return torch.cat(both, dim=2).permute(2, 0, 1)[None].to(like.dtype)
