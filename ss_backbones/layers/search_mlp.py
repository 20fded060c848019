"""An MLP with a gate for every hidden unit, as a search has it."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .gates import ALWAYS, START, expected, sample, take_layers
from .mlp import Mlp


class SearchMlp(Mlp):
    """An :class:`Mlp` of which hidden units are multiplied by gates after the activation.

    Units that bypass the second linear have none, and stay.

    Args:
        mlp: The MLP, whose layers and parameters this one takes.

    Attributes:
        ffn_thresholds: (gated units,), of the gates, all likely on at first.
        draws: (gated units,), see :class:`~.search_mixer.SearchMixer`.

    Raises:
        ValueError: It is no :class:`Mlp`, has a convolution, or holds a ramp as a fixed tensor.

    Source: SPViT, see :class:`~.search_mixer.SearchMixer`.
    """

    ffn_thresholds: nn.Parameter
    draws: Tensor

    def __init__(self, mlp: nn.Module) -> None:
        if type(mlp) is not Mlp or mlp.dwconv is not None:
            raise ValueError(f'{type(mlp).__name__} cannot be searched: it must be an Mlp without a convolution.')
        if mlp.has_fixed_ramp():
            raise ValueError(
                'The MLP has a fixed ramp over its hidden units, which would be another over those that a search '
                "keeps. Build the network with ramp='bias': it takes the same weights and computes the same."
            )
        same = {name: getattr(mlp, name) for name in ('hidden', 'bypass', 'ramp', 'ramp_as')}
        with torch.device('meta'):
            super().__init__(mlp.fc1.in_features, **same)
        take_layers(self, mlp)
        like = {'dtype': self.fc2.weight.dtype, 'device': self.fc2.weight.device}
        units = self.hidden - self.bypass
        self.ffn_thresholds = nn.Parameter(torch.full((units,), START, **like))
        self.register_buffer('draws', torch.full((units,), ALWAYS, **like), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        draws = self.draws if self.training else torch.full_like(self.draws, ALWAYS)
        hidden = self.act(self.fc1(x))
        inner, past = hidden.split((self.hidden - self.bypass, self.bypass), dim=-1)
        out = self.fc2(self.drop(inner * sample(self.ffn_thresholds, draws).to(inner.dtype)))
        if self.bypass:
            past = past if self.bypass_bias is None else past + self.bypass_bias.to(past.dtype)
            out = torch.cat((out, self.drop(past)), dim=-1)
        return self.drop(out)

    def kept(self) -> Tensor:
        """The places of the hidden units that the gates keep, rising; of no gate that is on, the likeliest one."""
        on = self.ffn_thresholds.detach() > 0
        if not on.any():
            on[self.ffn_thresholds.argmax()] = True
        past = torch.ones(self.bypass, dtype=torch.bool, device=on.device)
        return torch.cat((on, past)).nonzero().flatten()

    def macs(self, grid: tuple[int, int]) -> Tensor:
        """Multiply-adds for the patches of one image with the gates of :func:`~.gates.expected`, in float64."""
        return self.unit_macs(grid) * expected(self.ffn_thresholds.double()).sum() + self.fixed_macs(grid)

    def unit_macs(self, grid: tuple[int, int]) -> int:
        """Multiply-adds of a unit that has a gate."""
        return prod(grid) * (self.fc1.in_features + self.fc2.out_features)

    def fixed_macs(self, grid: tuple[int, int]) -> int:
        """Multiply-adds of the units that have none."""
        return prod(grid) * self.fc1.in_features * self.bypass
