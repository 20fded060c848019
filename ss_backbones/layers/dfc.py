"""DFC: learned layers in the places of an MLP's activation and second linear, whose weights can be read afterwards."""

from torch import Tensor, fx, nn
from torch.nn import functional as F

from .fast_paths import has_hooks, is_plain
from .grouped_linear import GroupedLinear, sums_of_products
from .mlp import HiddenMlp, depthwise


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
        plain = is_plain(self.gate, nn.Linear) and is_plain(self.gl2, GroupedLinear)
        dropping = self.training and self.drop.p
        if dropping or not plain or has_hooks(self.drop):
            return self.gl2(self.drop(self.gate(sums) * hidden))
        # The weights of gl2 go into the gates' linear layer, which is smaller than what it makes; then the product of
        # gates and hidden features need not be kept, nor be there at all.
        weight = self.gl2.weight.flatten()
        gates = F.linear(sums, self.gate.weight * weight[:, None], self.gate.bias * weight)
        return _gated_sums(gates, hidden, self.gl2.weight.shape[1], self.gl2.bias)


@fx.wrap  # torch.fx knows no sizes to decide by
def _gated_sums(gates: Tensor, hidden: Tensor, group_size: int, bias: Tensor) -> Tensor:
    """The sums over groups of gates times hidden features: (..., H), (..., H) to (..., C)."""
    tokens = (-1, hidden.shape[-1])
    out = sums_of_products(gates.reshape(tokens), hidden.reshape(tokens), group_size) + bias
    return out.to(hidden.dtype).reshape(*hidden.shape[:-1], out.shape[1])


class DfcMlp(HiddenMlp):
    """A linear layer, perhaps a depthwise convolution, and :class:`DFC`: an MLP to be probed.

    Args:
        dim: Channels C in and out, an even number.
        hidden: Hidden channels, a multiple of ``dim``.
        conv: Put a depthwise 3 x 3 convolution before the gates; tokens then are maps (B, H, W, C).
        relu_before_conv: Put a ReLU before that.
        drop: Dropout probability of the gated channels and of what comes out.

    Raises:
        ValueError: ``dim`` is odd, or ``hidden`` is no multiple of it.

    Source: the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    kinds = HiddenMlp.kinds | {DFC, GroupedLinear}

    def __init__(
        self, dim: int, hidden: int, *, conv: bool = False, relu_before_conv: bool = False, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.fc1 = nn.Linear(dim, hidden)
        self.dfc = DFC(dim, hidden, drop)
        self.drop = nn.Dropout(drop)
        self.dwconv = depthwise(hidden) if conv else None
        self.relu_before_conv = relu_before_conv

    def finish(self, hidden: Tensor) -> Tensor:
        """What follows the hidden features: (..., H) to (..., C)."""
        return self.drop(self.dfc(hidden))
