"""The integration with OpenMMLab: importing this registers the backbones and makes mmengine's checkpoints loadable."""

from . import safe_globals
from .backbone import Backbone
from .backbones import SSPVTv2, SSSwin, SSViT
from .compile_backbone import CompileBackboneHook
from .layer_decay import LayerDecayOptimizerConstructor

safe_globals.register()

__all__ = ['Backbone', 'CompileBackboneHook', 'LayerDecayOptimizerConstructor', 'SSPVTv2', 'SSSwin', 'SSViT']
