"""What the blocks are made of, from numbers. Tokens travel as (B, H, W, C) or (B, N, C), channels last, contiguous.

The names below are for networks of others as well; docs/own-transformer.md says which number of a
:class:`~ss_backbones.BlockSetting` goes where.
"""

from .attention import Attention, SelfAttention, SpatialReductionAttention
from .block import Block, drop_path_rates
from .conv_mixer import ConvMixer, FusedConvMixer, HeadLayer, HeadMixing, SharedConvMixer, Skip
from .cross_covariance import CrossCovarianceAttention
from .dfc import DFC, DfcMlp
from .fourier_positions import FourierPositions
from .grouped_linear import GroupedLinear
from .linear_attention import UfoAttention, UfoClassAttention, XNorm
from .local_block import LocalBlock, NormedLPI
from .mlp import ACTIVATIONS, HiddenMlp, Mlp
from .patch_embed import OverlapPatchEmbed
from .patch_merging import PatchMerging
from .pyramid import BlockPyramid, SimpleFeaturePyramid
from .window_attention import WindowAttention

__all__ = [
    'ACTIVATIONS',
    'DFC',
    'Attention',
    'Block',
    'BlockPyramid',
    'ConvMixer',
    'CrossCovarianceAttention',
    'DfcMlp',
    'FourierPositions',
    'FusedConvMixer',
    'GroupedLinear',
    'HeadLayer',
    'HeadMixing',
    'HiddenMlp',
    'LocalBlock',
    'Mlp',
    'NormedLPI',
    'OverlapPatchEmbed',
    'PatchMerging',
    'SelfAttention',
    'SharedConvMixer',
    'SimpleFeaturePyramid',
    'Skip',
    'SpatialReductionAttention',
    'UfoAttention',
    'UfoClassAttention',
    'WindowAttention',
    'XNorm',
    'drop_path_rates',
]
