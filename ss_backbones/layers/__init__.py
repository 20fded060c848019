"""What the blocks are made of. Tokens travel as (B, H, W, C) or (B, N, C), channels last and contiguous."""

from .attention import SpatialReductionAttention
from .mlp import ConvMlp, Mlp
from .patch_embed import OverlapPatchEmbed

__all__ = ['ConvMlp', 'Mlp', 'OverlapPatchEmbed', 'SpatialReductionAttention']
