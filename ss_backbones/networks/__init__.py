"""The networks: torch and timm alone, one file an architecture."""

from .pvt_v2 import PVTv2, PVTv2Arch
from .vit import ViT, ViTArch
from .vit_pyramid import PyramidViT

__all__ = ['PVTv2', 'PVTv2Arch', 'PyramidViT', 'ViT', 'ViTArch']
