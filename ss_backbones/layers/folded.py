"""Blocks for inference alone, whose constants are worked into their weights; :func:`~ss_backbones.fold` makes them."""

from torch import Tensor, nn

from .block import Block
from .mlp import ConvMlp, Mlp, Projection
from .second_linear import project


class FoldedBlock(Block):
    """A block whose norms have no scale and no shift of their own."""

    def train(self, mode: bool = True) -> nn.Module:
        """Evaluation alone.

        Raises:
            RuntimeError: ``mode`` is True.
        """
        if mode:
            raise RuntimeError(
                'A folded model cannot be trained: its norms and ramps are part of other weights. Train the model that '
                'it was folded from, and fold it again; this one stays usable after eval().'
            )
        return super().train(mode)


class FoldedMlp(Mlp):
    """An MLP with channels that go past its second linear, where the ramp is a constant for each channel that leaves.

    Attributes:
        past_bias: (C,), 0 for the channels that come from the second linear, whose bias has its part of the ramp.
    """

    past_bias: Tensor

    def contract(self, hidden: Tensor, projection: Projection = project) -> Tensor:
        """(..., hidden) to (..., C)."""
        out = super().contract(hidden, projection)
        out += self.past_bias  # fresh from the concatenation, so nobody else has it
        return out


class FoldedConvMlp(FoldedMlp, ConvMlp):
    """A :class:`FoldedMlp` with the depthwise convolution."""
