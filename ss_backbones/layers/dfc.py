"""DFC: learned layers in the places of an MLP's activation and second linear, whose weights can be read afterwards."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..settings import BlockSetting
from .depthwise import DepthwiseMixin
from .grouped_linear import GroupedLinear, sums_of_products
from .hooks import is_watched


class DFC(nn.Module):
    """Gates for the hidden channels, made from all of them, and a sum over groups of the gated channels.

    ``gate(gl1(h))`` stands where the activation stood, and ``gl2`` of the gated hidden features where the second linear
    stood. With a width of C it has H + C / 2 parameters in gl1, C / 2 * H + H in the gates, H + C in gl2.

    Args:
        dim: Channels C out, an even number.
        hidden: Hidden channels H in, a multiple of ``dim``.
        drop: Dropout probability of the gated channels.

    Raises:
        ValueError: ``dim`` is odd, or ``hidden`` is no multiple of it.

    Source: the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        if dim < 2 or dim % 2 or hidden < dim or hidden % dim:
            raise ValueError(
                f'DFC makes dim / 2 = {dim / 2:g} sums of hidden channels and dim = {dim} outputs, so dim must be even '
                f'and hidden={hidden} a multiple of it: take a whole-numbered mlp_ratio and an even width.'
            )
        self.gl1 = GroupedLinear(hidden, hidden // (dim // 2))
        self.gate = nn.Linear(dim // 2, hidden)
        self.drop = nn.Dropout(drop)
        self.gl2 = GroupedLinear(hidden, hidden // dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) to (..., C)."""
        sums = self.gl1(hidden)
        plain = type(self.gate) is nn.Linear and type(self.gl2) is GroupedLinear  # and not what somebody put there
        dropping = self.training and self.drop.p
        if dropping or not plain or is_watched(self.gate, self.drop, self.gl2):
            return self.gl2(self.drop(self.gate(sums) * hidden))
        # The weights of gl2 go into the gates' linear layer, which is smaller than what it makes; then the product of
        # gates and hidden features need not be kept, nor be there at all.
        weight = self.gl2.weight.flatten()
        gates = F.linear(sums, self.gate.weight * weight[:, None], self.gate.bias * weight)
        tokens = (-1, hidden.shape[-1])
        out = sums_of_products(gates.reshape(tokens), hidden.reshape(tokens), self.gl2.weight.shape[1]) + self.gl2.bias
        return out.to(hidden.dtype).reshape(*hidden.shape[:-1], out.shape[1])


class DfcMlp(nn.Module):
    """A linear layer and :class:`DFC`: what stands in a block in place of its MLP, to be probed.

    Args:
        dim: Channels C in and out, an even number.
        setting: The block's numbers. Of the MLP's, mlp_ratio is used, which must be whole; DFC has no activation, ramp
            or bypass.
        drop: Dropout probability of the gated channels and of what comes out.

    Raises:
        ValueError: ``dim`` is odd, or the setting is not possible with DFC.

    Source: the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    def __init__(self, dim: int, setting: BlockSetting, drop: float = 0.0) -> None:
        super().__init__()
        check_dfc_setting(setting)
        hidden = int(dim * setting.mlp_ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.dfc = DFC(dim, hidden, drop)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.finish(self.fc1(x))

    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the hidden features: (..., H) to (..., C)."""
        return self.drop(self.dfc(hidden))


class ConvDfcMlp(DepthwiseMixin, DfcMlp):
    """A :class:`DfcMlp` with PVTv2's depthwise convolution where it was, before the gates."""


def check_dfc_setting(setting: BlockSetting) -> None:
    """Whether a block with this setting can have a DFC MLP.

    Raises:
        ValueError: It has a broken mlp_ratio, or an activation, ramp or bypass, which DFC replaces.
    """
    plain = BlockSetting(mlp_ratio=round(setting.mlp_ratio) or 1)
    wrong = [
        name
        for name in ('mlp_ratio', 'act', 'pos_scale', 'mlp_split')
        if getattr(setting, name) != getattr(plain, name)
    ]
    if wrong:
        given = ', '.join(f'{name}={getattr(setting, name)!r}' for name in wrong)
        raise ValueError(
            f"mlp='dfc' does not go with {given}: a DFC MLP has no activation, ramp or bypass, and needs a "
            "whole-numbered mlp_ratio. Take settings='uniform', or a list with such a mlp_ratio, attn_ratio and "
            'attn_split alone.'
        )
