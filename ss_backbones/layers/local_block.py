"""A transformer block with a convolution of neighbouring tokens between attention and MLP, and scaled branches."""

import torch
from timm.models.xcit import LPI
from torch import Tensor, nn

from .block import Block


class NormedLPI(LPI):
    """A local patch interaction with a norm and an activation after its second convolution as well.

    Args:
        dim: Channels C.
        act: Activation.

    Source: UFO-ViT (arXiv 2109.14382) speaks of two stacked convolutions, each with BatchNorm and GELU; XCiT, from
    which it takes the module, has none after the second.
    """

    def __init__(self, dim: int, act: type[nn.Module]) -> None:
        super().__init__(dim, act_layer=act)
        self.bn2 = nn.BatchNorm1d(dim)
        self.act2 = act()

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        return self.act2(self.bn2(super().forward(x, height, width).transpose(1, 2))).transpose(1, 2)


class LocalBlock(Block):
    """Attention, local patch interaction and MLP, each behind a LayerNorm, scaled channel by channel, and added.

    Args:
        dim: See :class:`Block`.
        attn: See :class:`Block`.
        mlp: See :class:`Block`.
        drop_path: See :class:`Block`.
        local: The local patch interaction; it gets the height and width in tokens beside them.
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
        local: nn.Module,
        layer_scale: float,
    ) -> None:
        super().__init__(dim, attn, mlp, drop_path)
        self.norm3 = nn.LayerNorm(dim, eps=self.norm1.eps)
        self.local_mp = local
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
