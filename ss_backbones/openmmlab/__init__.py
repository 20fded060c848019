"""The integration with OpenMMLab: importing this registers the backbones and the reader of checkpoint files."""

from . import local_files, safe_globals
from .backbone import Backbone
from .backbones import SSPVTv2, SSSwin, SSViT, SSXCiT, UFOViT
from .compile_backbone import CompileBackboneHook
from .layer_decay import LayerDecayOptimizerConstructor

safe_globals.register()
local_files.register()

__all__ = [
    'Backbone',
    'CompileBackboneHook',
    'LayerDecayOptimizerConstructor',
    'SSPVTv2',
    'SSSwin',
    'SSViT',
    'SSXCiT',
    'UFOViT',
]
