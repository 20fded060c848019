"""A transformer block with a convolution of neighbouring tokens between attention and MLP, and scaled branches."""

import torch
from timm.models.xcit import LPI
from torch import Tensor, nn

from .block import Block


class LocalBlock(Block):
    """Attention, local patch interaction and MLP, each behind a LayerNorm, scaled channel by channel, and added.

    Args:
        dim: See :class:`Block`.
        attn: See :class:`Block`.
        mlp: See :class:`Block`.
        drop_path: See :class:`Block`.
        act: Activation of the local patch interaction.
        layer_scale: Where the scales of the branches start.

    Attributes:
        gamma1: (C,), the scale of the attention.
        gamma3: (C,), the scale of the local patch interaction.
        gamma2: (C,), the scale of the MLP.

    Source: XCiT (arXiv 2106.09681, section 3.3); the scales are CaiT's (arXiv 2103.17239, section 2).
    """

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        drop_path: float,
        *,
        act: type[nn.Module],
        layer_scale: float,
    ) -> None:
        super().__init__(dim, attn, mlp, drop_path)
        self.norm3 = nn.LayerNorm(dim, eps=self.norm1.eps)
        self.local_mp = LPI(dim, act_layer=act)
        self.layer_scale = layer_scale
        for name in ('gamma1', 'gamma3', 'gamma2'):
            self.register_parameter(name, nn.Parameter(torch.empty(dim)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the scales of the branches."""
        for scale in (self.gamma1, self.gamma3, self.gamma2):
            nn.init.constant_(scale, self.layer_scale)

    def between(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """See :class:`Block`: the local patch interaction."""
        return self._add(x, self.local_mp(self.norm3(x), *grid), self.gamma3)

    def scales(self) -> tuple[Tensor, Tensor]:
        """See :class:`Block`."""
        return self.gamma1, self.gamma2
