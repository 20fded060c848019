"""The face to OpenMMLab: importing this registers the backbones and makes mmengine's checkpoints loadable."""

from . import safe_globals
from .pvt_v2 import SSPVTv2

safe_globals.register()

__all__ = ['SSPVTv2']
