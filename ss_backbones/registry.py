"""The package's nodes in mmengine's registry tree.

mmengine imports ``<scope>.registry`` when a config says ``type='<scope>.X'``, so this module's name is fixed.
"""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DATA_SAMPLERS as ROOT_DATA_SAMPLERS
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import FUNCTIONS as ROOT_FUNCTIONS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import RUNNERS as ROOT_RUNNERS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry

# So that 'ss_backbones::mask_rcnn/...' names a config. The value is what pip calls the package, or, as here, a module:
# mmengine asks Python where a name lies that pip does not know, which is right for an editable install as well.
MODULE2PACKAGE['ss_backbones'] = __name__


def _find_forks() -> None:
    """Let mmengine find ``mmseg::`` where a package of another pip name brings mmseg, as the maintained fork does."""
    try:
        distribution(MODULE2PACKAGE['mmseg'])
    except PackageNotFoundError:
        if find_spec('mmseg') is not None:
            MODULE2PACKAGE['mmseg'] = 'mmseg'


_find_forks()


def _node(root: Registry, *where: str) -> Registry:
    """A child of one of mmengine's registries; ``where`` names the modules to import before anything is looked up."""
    return Registry(root.name, parent=root, scope='ss_backbones', locations=[f'ss_backbones.{name}' for name in where])


MODELS = _node(ROOT_MODELS, 'openmmlab', 'classification')
OPTIM_WRAPPER_CONSTRUCTORS = _node(ROOT_OPTIM_WRAPPER_CONSTRUCTORS, 'openmmlab')
DATASETS = _node(ROOT_DATASETS, 'classification')
DATA_SAMPLERS = _node(ROOT_DATA_SAMPLERS, 'classification')
FUNCTIONS = _node(ROOT_FUNCTIONS, 'training', 'classification')
METRICS = _node(ROOT_METRICS, 'classification')
HOOKS = _node(ROOT_HOOKS, 'training', 'openmmlab', 'classification')
LOOPS = _node(ROOT_LOOPS, 'training')
RUNNERS = _node(ROOT_RUNNERS, 'training', 'compress.search_runner')
TRANSFORMS = _node(ROOT_TRANSFORMS, 'data_faults')


def register_backbone(cls: type) -> type:
    """Register at this node, for ``type='ss_backbones.X'``, and at the root, for ``type='X'`` after an import."""
    return ROOT_MODELS.register_module(module=MODELS.register_module(module=cls))
