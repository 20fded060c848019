"""SS vision transformers as backbones for mmdetection, mmsegmentation and timm.

Importing this registers the timm models and, where mmengine is installed, the OpenMMLab backbones.
"""

import importlib.util
import warnings

from . import timm_models as timm_models  # registers the models
from .checkpoint_files import CheckpointError
from .checkpoints import LoadReport, load_weights
from .folding import fold
from .settings import BlockSetting, specific_setting, uniform_setting
from .version import __version__

__all__ = [
    'BlockSetting',
    'CheckpointError',
    'LoadReport',
    '__version__',
    'fold',
    'load_weights',
    'specific_setting',
    'uniform_setting',
]

_NEED_MMENGINE = ['LayerDecayOptimizerConstructor', 'SSPVTv2', 'SSViT']

if importlib.util.find_spec('mmengine') is not None:
    try:
        from .openmmlab import LayerDecayOptimizerConstructor, SSPVTv2, SSViT  # noqa: F401

        __all__ += _NEED_MMENGINE
    except ImportError as error:  # mmengine is there and broken: say so, and leave the timm models usable
        warnings.warn(f'mmengine cannot be imported, so no OpenMMLab backbone is registered: {error}', stacklevel=2)


def __getattr__(name: str) -> object:
    if name in _NEED_MMENGINE:
        raise ImportError(f'ss_backbones.{name} needs mmengine. Install it as the README says.')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
