"""SS vision transformers as backbones for mmdetection, mmsegmentation and timm.

Importing this registers the timm models and, where mmengine is installed, the OpenMMLab backbones. Only a command that
starts (``ss-backbones``, ``python -m ss_backbones``, the scripts in tools/) calls :func:`register` by itself, after it
has read its command line: torch, timm and mmengine take seconds to import.
"""

import importlib.util
import sys
import warnings
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from .version import __version__

_PLACES = {
    'BlockSetting': 'settings',
    'CheckpointError': 'errors',
    'LoadReport': 'checkpoints',
    'fold': 'deploy',
    'load_weights': 'checkpoints',
    'specific_setting': 'settings',
    'uniform_setting': 'settings',
}
_NEED_MMENGINE = ('LayerDecayOptimizerConstructor', 'SSPVTv2', 'SSSwin', 'SSViT', 'SSXCiT', 'UFOViT')

__all__ = ['__version__', 'register', *_PLACES]


def register() -> None:
    """Register the timm models and, where mmengine is installed, the OpenMMLab backbones; again changes nothing."""
    import_module('.timm_models', __name__)
    if importlib.util.find_spec('mmengine') is None:
        return
    try:
        import_module('.openmmlab', __name__)
    except ImportError as error:  # mmengine is there and broken: say so, and leave the timm models usable
        warnings.warn(f'mmengine cannot be imported, so no OpenMMLab backbone is registered: {error}', stacklevel=2)
    else:
        __all__.extend(name for name in _NEED_MMENGINE if name not in __all__)


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f'.{_PLACES[name]}', __name__), name)
    if name in _NEED_MMENGINE:
        register()
        if (openmmlab := sys.modules.get(f'{__name__}.openmmlab')) is not None:
            return getattr(openmmlab, name)
        raise ImportError(f'ss_backbones.{name} needs mmengine. Install it as the README says.')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _starts_a_command() -> bool:
    """Whether a command is what Python has been started for, and it has not come further than this import."""
    if sys.argv[:1] == ['-m']:  # Python is looking for the module that is to run, which may be one that needs this one
        return ('-m', __name__) in pairwise(sys.orig_argv)
    script = (sys.argv or [''])[0]
    # child processes go through the same script, but were not started with it; tools/*.py set the name alone
    return Path(script).name == 'ss-backbones' and script in (*sys.orig_argv, 'ss-backbones')


if _starts_a_command():
    # as Python itself does after -m: processes that are started from here have the same arguments, and are no commands
    sys.argv[0] = str(Path(__file__).with_name('__main__.py'))
else:
    register()
