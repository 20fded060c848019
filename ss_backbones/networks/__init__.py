"""The networks: torch and timm alone, one file an architecture."""

from .pvt_v2 import PVTv2, PVTv2Arch

__all__ = ['PVTv2', 'PVTv2Arch']
