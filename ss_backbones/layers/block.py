"""A transformer block."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .folded_weights import MARK, refuse_other_folding


def drop_path_rates(last: float, depth: int) -> list[float]:
    """The probability to drop a branch in every block: from 0 linearly up to that of the last."""
    return torch.linspace(0, last, depth, device='cpu').tolist()  # as numbers, on the meta device too


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and around which the tokens go as well.

    Args:
        dim: Channels C.
        attn: Attention; it gets whatever :meth:`forward` gets beside the tokens.
        mlp: MLP.
        drop_path: Probability to drop a branch.
        norm_eps: What the norms add to the variance.

    Attributes:
        folded: None, or, in a block that was folded for inference, a mark that goes into its state dict.

    Source: ViT (arXiv 2010.11929, section 3.1).
    """

    def __init__(self, dim: int, attn: nn.Module, mlp: nn.Module, drop_path: float, *, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)
        self.register_buffer(MARK, None)
        self.register_load_state_dict_pre_hook(refuse_other_folding)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(..., C) to (..., C); ``grid`` is the height and width in tokens, where the attention wants to know them."""
        tokens = self.norm1(x)
        x = x + self.drop_path(self.attn(tokens) if grid is None else self.attn(tokens, grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def train(self, mode: bool = True) -> nn.Module:
        """Switch between training and evaluation.

        Raises:
            RuntimeError: The block was folded for inference, and ``mode`` is True.
        """
        if mode and self.folded is not None:
            raise RuntimeError(
                'A folded model cannot be trained: its norms and ramps are part of other weights. Train the model that '
                'it was folded from, and fold it again; this one stays usable after eval().'
            )
        return super().train(mode)
