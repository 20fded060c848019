"""A transformer block."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .folded_weights import refuse_other_folding


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

    Source: ViT (arXiv 2010.11929, section 3.1).
    """

    def __init__(self, dim: int, attn: nn.Module, mlp: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)
        self.register_load_state_dict_pre_hook(refuse_other_folding)

    def forward(self, x: Tensor, *layout: object) -> Tensor:
        """(..., C) to (..., C); ``layout`` is what the attention needs to know of the tokens' places."""
        x = x + self.drop_path(self.attn(self.norm1(x), *layout))
        return x + self.drop_path(self.mlp(self.norm2(x)))
