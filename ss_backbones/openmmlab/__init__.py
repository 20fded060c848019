"""The integration into OpenMMLab: importing this registers the backbones and makes mmengine's checkpoints loadable."""

from . import safe_globals
from .compile_backbone import CompileBackboneHook
from .layer_decay import LayerDecayOptimizerConstructor
from .pvt_v2 import SSPVTv2
from .vit import SSViT

safe_globals.register()

__all__ = ['CompileBackboneHook', 'LayerDecayOptimizerConstructor', 'SSPVTv2', 'SSViT']
