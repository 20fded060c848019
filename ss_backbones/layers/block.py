"""A transformer block."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .chunking import recomputed_in_row_chunks
from .fast_paths import has_hooks, is_plain
from .folded_weights import MARK, refuse_other_folding
from .mlp import HiddenMlp


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
        """(..., C) to (..., C); ``grid`` is the height and width in tokens, where the block wants to know them."""
        layout = () if grid is None else (grid,)
        return self.add_mlp(self.between(self.add_attention(x, *layout), *layout))

    def add_attention(self, x: Tensor, *layout: object) -> Tensor:
        """Tokens to tokens with what the attention makes of them."""
        return self._add(x, self.attn(self.norm1(x), *layout), self.scales()[0])

    def between(self, x: Tensor, *layout: object) -> Tensor:
        """What the block does to the tokens between attention and MLP: nothing."""
        return x

    def add_mlp(self, x: Tensor) -> Tensor:
        """Tokens to tokens with what the MLP makes of them."""
        return self._add(x, self.mlp(self.norm2(x)), self.scales()[1])

    def may_recompute_rows(self, x: Tensor) -> bool:
        """Whether nobody would see that :meth:`add_mlp_by_rows` stands for :meth:`add_mlp`."""
        if not is_plain(self, type(self)) or not is_plain(self.norm2, nn.LayerNorm):
            return False
        return isinstance(self.mlp, HiddenMlp) and not has_hooks(self.mlp) and self.mlp.may_be_recomputed(x)

    def add_mlp_by_rows(self, x: Tensor) -> Tensor:
        """:meth:`add_mlp` of a map (B, H, W, C), of which the backward pass computes some rows at a time again."""

        def branch(some: Tensor, rows: slice | None) -> Tensor:
            return self.mlp.of_rows(self.norm2(some), rows)

        made = recomputed_in_row_chunks(branch, x, halo=self.mlp.halo, channels=self.mlp.hidden)
        return self._add(x, made, self.scales()[1])

    def scales(self) -> tuple[Tensor | None, Tensor | None]:
        """What attention and MLP are multiplied by before they are added, (C,) each; None for nothing."""
        return None, None

    def _add(self, x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
        branch = self.drop_path(branch)
        return x + branch if scale is None else torch.addcmul(x, scale, branch)

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
