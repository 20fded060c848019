"""Checks of this package's own: what it registers, and its configs."""

from pathlib import Path

from .findings import Check, Problem
from .packages import is_there

_OWN = {
    'mmdet': 'mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py',
    'mmseg': 'semantic_fpn/fpn_ss-pvtv2-b0_8xb2-80k_ade20k-512x512.py',
}
_THEIRS = {
    'mmdet': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'mmseg': 'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
}


def own_checks() -> list[Check]:
    """Those of the package; of OpenMMLab as far as it is there."""
    checks = [Check('ss_backbones', package), Check('timm models', timm_models)]
    if is_there('mmengine') and is_there('mmcv'):
        libraries = [name for name in _OWN if is_there(name)]
        checks += [Check(f'registry ({name})', lambda name=name: registry(name)) for name in libraries]
        checks += [Check(f'configs ({name})', lambda name=name: configs(name)) for name in libraries]
    return checks


def package() -> str:
    """It can be imported."""
    from .. import register
    from ..version import __version__

    register()
    return f'{__version__}, {Path(__file__).parents[1]}'


def timm_models() -> str:
    """They are registered, and one can be built and run."""
    import timm
    import torch

    from .. import register
    from ..timm_models import model_names

    register()
    names = model_names()
    with torch.device('meta'):  # no memory, no time
        shape = tuple(timm.create_model('ss_pvt_v2_b0', num_classes=10)(torch.rand(1, 3, 64, 64)).shape)
    if shape != (1, 10):
        raise Problem(f'ss_pvt_v2_b0 gives {shape}, expected (1, 10)')
    return f'{len(names)} are registered'


def registry(library: str) -> str:
    """A config of a library finds the backbones."""
    import torch

    from .. import register

    register()
    from ..openmmlab.backbone_building import build_backbone

    with torch.device('meta'):
        for kind in ('SSPVTv2', 'ss_backbones.SSPVTv2'):
            build_backbone({'type': kind, 'arch': 'b0'}, library)
    return 'SSPVTv2 is found and can be built'


def configs(library: str) -> str:
    """Configs of the library and of this package are found, and can be inherited from."""
    from mmengine.config import Config

    from .. import register

    register()
    from ..openmmlab.configs import find_config

    names = [f'{library}::{_THEIRS[library]}', f'ss_backbones::{_OWN[library]}']
    for name in names:
        find_config(name)
        config = Config.fromstring(f'_base_ = {name!r}\n', '.py')
        if not config.get('model'):
            raise Problem(f'{name} is read as an empty config')
    return f'{library}:: and ss_backbones:: can be inherited from'
