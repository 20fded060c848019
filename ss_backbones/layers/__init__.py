"""What the blocks are made of, from numbers. Tokens travel as (B, H, W, C) or (B, N, C), channels last, contiguous."""

from .attention import Attention, SelfAttention, SpatialReductionAttention
from .block import Block, drop_path_rates
from .conv_mixer import ConvMixer, FusedConvMixer, HeadLayer, HeadMixing, SharedConvMixer, Skip
from .dfc import DFC, DfcMlp
from .grouped_linear import GroupedLinear
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
    'ConvMixer',
    'DfcMlp',
    'FusedConvMixer',
    'GroupedLinear',
    'HeadLayer',
    'HeadMixing',
    'HiddenMlp',
    'Mlp',
    'OverlapPatchEmbed',
    'PatchMerging',
    'SelfAttention',
    'SharedConvMixer',
    'SimpleFeaturePyramid',
    'Skip',
    'SpatialReductionAttention',
    'WindowAttention',
    'drop_path_rates',
]
