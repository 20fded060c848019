"""What the blocks are made of. Tokens travel as (B, H, W, C) or (B, N, C), channels last and contiguous."""

from .block import Block, drop_path_rates
from .dfc import DFC, ConvDfcMlp, DfcMlp
from .grouped_linear import GroupedLinear
from .mlp import ConvMlp, Mlp
from .patch_embed import OverlapPatchEmbed
from .pyramid import SimpleFeaturePyramid
from .self_attention import SelfAttention
from .spatial_reduction_attention import SpatialReductionAttention

__all__ = [
    'DFC',
    'Block',
    'ConvDfcMlp',
    'ConvMlp',
    'DfcMlp',
    'GroupedLinear',
    'Mlp',
    'OverlapPatchEmbed',
    'SelfAttention',
    'SimpleFeaturePyramid',
    'SpatialReductionAttention',
    'drop_path_rates',
]
