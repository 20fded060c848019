"""What the blocks are made of, from numbers. Tokens travel as (B, H, W, C) or (B, N, C), channels last, contiguous."""

from .attention import Attention, SelfAttention, SpatialReductionAttention
from .block import Block, drop_path_rates
from .dfc import DFC, DfcMlp
from .grouped_linear import GroupedLinear
from .linear_attention import UfoAttention, XNorm
from .mlp import ACTIVATIONS, HiddenMlp, Mlp
from .patch_embed import OverlapPatchEmbed
from .patch_merging import PatchMerging
from .pyramid import SimpleFeaturePyramid
from .window_attention import WindowAttention

__all__ = [
    'ACTIVATIONS',
    'DFC',
    'Attention',
    'Block',
    'DfcMlp',
    'GroupedLinear',
    'HiddenMlp',
    'Mlp',
    'OverlapPatchEmbed',
    'PatchMerging',
    'SelfAttention',
    'SimpleFeaturePyramid',
    'SpatialReductionAttention',
    'UfoAttention',
    'WindowAttention',
    'XNorm',
    'drop_path_rates',
]
