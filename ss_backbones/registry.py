"""The package's node in mmengine's registry tree.

mmengine imports ``<scope>.registry`` when a config says ``type='<scope>.X'``, so this module's name is fixed.
"""

from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=ROOT_MODELS, scope='ss_backbones', locations=['ss_backbones.openmmlab'])


def register_backbone(cls: type) -> type:
    """Register at this node, for ``type='ss_backbones.X'``, and at the root, for ``type='X'`` after an import."""
    return ROOT_MODELS.register_module(module=MODELS.register_module(module=cls))
