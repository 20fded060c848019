"""An MLP with a gate for every hidden unit, as a search has it."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from .gates import ALWAYS, START, expected, sample
from .mlp import Mlp


class SearchMlp(Mlp):
    """An :class:`Mlp` of which hidden units are multiplied by gates after the activation.

    Units that bypass the second linear have none, and stay. It is made of an MLP by :func:`to_search_mlp`.

    Attributes:
        ffn_thresholds: (gated units,), of the gates.
        draws: (gated units,), see :class:`~.search_mixer.SearchMixer`.

    Source: SPViT, see :class:`~.search_mixer.SearchMixer`.
    """

    ffn_thresholds: nn.Parameter
    draws: Tensor

    def add_gates(self) -> None:
        """Add what an MLP does not have, all gates likely on."""
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


def to_search_mlp(mlp: nn.Module) -> None:
    """Give the hidden units of an MLP gates, in place.

    Raises:
        ValueError: It is no :class:`Mlp`, has a convolution, or holds a ramp as a fixed tensor.
    """
    if type(mlp) is not Mlp or mlp.dwconv is not None:
        raise ValueError(f'{type(mlp).__name__} cannot be searched: it must be an Mlp without a convolution.')
    if mlp.has_fixed_ramp():
        raise ValueError(
            'The MLP has a fixed ramp over its hidden units, which would be another over those that a search keeps. '
            "Build the network with ramp='bias': it takes the same weights and computes the same."
        )
    mlp.__class__ = SearchMlp
    mlp.add_gates()
