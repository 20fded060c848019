"""The network of a config of this package as a contestant, such as one with settings of its own."""

from torch import nn

from ..timm_models import MODEL_NAMES

_SUFFIX = '.py'


def is_config(network: str) -> bool:
    """Whether a contestant is named by a config."""
    return network.endswith(_SUFFIX)


def check_config(path: str, detector: bool) -> None:
    """Find out whether the network of a config can be measured.

    Raises:
        ValueError: It cannot; the text says why.
    """
    if detector:
        raise ValueError(f'{path}: --detector makes detectors around archs and peers, not around configs')
    network = build_config(path)
    if network.in_channels != 3:
        raise ValueError(f'{path}: its images have {network.in_channels} channels, and those that are measured have 3')


def build_config(path: str, recompute: bool = False) -> nn.Module:
    """The backbone of a config, or its classifier, with random weights and without drop path.

    Raises:
        ValueError: The config cannot be read, or its backbone is none of this package, or cannot be built.
    """
    try:
        from ..openmmlab.backbone_building import build_backbone, own_class
        from ..openmmlab.configs import UsageError, library_of, read_config
    except ModuleNotFoundError as error:
        raise ValueError(f'{path}: a config needs OpenMMLab: {error}. Install it as the README says') from error
    try:
        config = read_config(path, {}, custom_imports=True)
    except UsageError as error:
        raise ValueError(str(error).rstrip('.')) from error  # the parser adds one
    backbone = dict((config.get('model') or {}).get('backbone') or {})
    if backbone.get('name') not in MODEL_NAMES and own_class(backbone) is None:
        raise ValueError(
            f'{path}: its backbone is none of this package ({backbone.get("name") or backbone.get("type")}); give '
            'others as timm:NAME or mmdet:NAME'
        )
    backbone['drop_path_rate'] = 0.0
    backbone.pop('init_cfg', None)
    try:
        network = build_backbone(backbone, library_of(config))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from error
    for module in network.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = recompute
    return network
