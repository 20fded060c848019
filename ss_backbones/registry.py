"""The package's nodes in mmengine's registry tree.

mmengine imports ``<scope>.registry`` when a config says ``type='<scope>.X'``, so this module's name is fixed.
"""

from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import Registry

_WHERE = dict(scope='ss_backbones', locations=['ss_backbones.openmmlab'])
MODELS = Registry('model', parent=ROOT_MODELS, **_WHERE)
OPTIM_WRAPPER_CONSTRUCTORS = Registry('optimizer wrapper constructor', parent=ROOT_OPTIM_WRAPPER_CONSTRUCTORS, **_WHERE)


def register_backbone(cls: type) -> type:
    """Register at this node, for ``type='ss_backbones.X'``, and at the root, for ``type='X'`` after an import."""
    return ROOT_MODELS.register_module(module=MODELS.register_module(module=cls))
