"""The networks: torch and timm alone, one file a family."""

from .base import Network, network_in
from .catalog import PRESETS, Preset
from .columnar import ColumnarNetwork
from .pvt_v2 import PVTv2, PVTv2Arch
from .staged import StagedNetwork
from .swin import Swin, SwinArch
from .ufo_vit import UFOViT
from .vit import ViT, ViTArch
from .xcit import XCiT, XCiTArch

__all__ = [
    'PRESETS',
    'ColumnarNetwork',
    'Network',
    'PVTv2',
    'PVTv2Arch',
    'Preset',
    'StagedNetwork',
    'Swin',
    'SwinArch',
    'UFOViT',
    'ViT',
    'ViTArch',
    'XCiT',
    'XCiTArch',
    'network_in',
]
