"""The network that a config or a timm name means, with its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import timm
from torch import nn

from ...errors import ExportError
from ...timm_models import model_names
from .dynamic_sizes import check_dynamic
from .sizes import ImageSize
from .weights import load


@dataclass(frozen=True)
class Chosen:
    """A network in evaluation mode, and what the user should know of it.

    Args:
        model: It takes images (B, C, H, W) and gives logits or a sequence of maps.
        what: What it gives.
        notes: Where its weights come from, and what was left out.
        maps: Whether it gives maps.
        size: The images that the config tests it with, or None.
    """

    model: nn.Module
    what: str
    notes: tuple[str, ...]
    maps: bool
    size: ImageSize | None = None


def choose(
    name: str,
    checkpoint: str | None = None,
    *,
    features: bool = False,
    num_classes: int | None = None,
    settings: str | None = None,
    dynamic: bool = False,
) -> Chosen:
    """Build what is to be exported.

    Args:
        name: A config of a detector, segmenter or classifier, or a timm name that this package registers.
        checkpoint: Its weights, in any layout that :func:`~ss_backbones.load_weights` knows; None for those that the
            config's init_cfg names, or random ones.
        features: Maps in place of a classifier's logits.
        num_classes: A classifier's classes; None for the config's, or 1000.
        settings: Of a timm name: 'specific' or 'uniform'; None for its own.
        dynamic: Whether it must be fit for all image sizes.

    Raises:
        ExportError: There is no such network, or the arguments do not fit it.
        CheckpointError: The weights cannot be read, or are of another network.
    """
    if name.endswith('.py'):
        if settings:
            raise ExportError('--settings is for timm names; a config says itself which settings its network has.')
        return _of_config(name, checkpoint, features, num_classes, dynamic)
    if name not in model_names():
        raise ExportError(
            f'{name!r} is neither a config file (.py) nor a timm model of this package: {", ".join(model_names())}.'
        )
    options = {} if settings is None else {'settings': settings}
    return _classifier(name, options, {}, checkpoint, features, num_classes, dynamic)


def _of_config(path: str, checkpoint: str | None, features: bool, num_classes: int | None, dynamic: bool) -> Chosen:
    # only a config needs OpenMMLab, so a machine without it can still export the timm models
    from ...openmmlab.backbone_building import build_backbone, own_class
    from ...openmmlab.configs import library_of, read_config
    from ...openmmlab.model_check import check_model
    from .config_size import size_in

    config = read_config(path, {}, custom_imports=True)
    model = config.get('model') or {}
    backbone = model.get('backbone')
    if not isinstance(backbone, Mapping):
        raise ExportError(f'{path} has no model.backbone, which is what would be exported.')
    if 'name' in backbone:
        options = dict(backbone)
        name = options.pop('name')
        if name not in model_names():
            raise ExportError(f'The classifier of {path} is {name}, no model of this package; timm exports its own.')
        init_cfg = model.get('init_cfg') or {}
        found = _classifier(name, options, init_cfg, checkpoint, features, num_classes, dynamic)
        return replace(found, size=size_in(config))
    if features or num_classes is not None:
        raise ExportError(
            f'--features and --num-classes are for classifiers; of {path} the backbone is exported, which gives maps.'
        )
    cls = own_class(backbone)
    if cls is None:
        raise ExportError(
            f'The backbone of {path} is {backbone.get("type")}; only backbones of this package are exported.'
        )
    check_model(config, 'export', path)
    bf16 = backbone.get('bf16', False)
    plain = {**backbone, 'type': cls, 'bf16': False, 'init_cfg': None}
    network = build_backbone(plain, library_of(config))
    if dynamic:
        check_dynamic(network)
    notes = load(network, checkpoint, backbone.get('init_cfg') or {})
    if bf16:
        notes = (*notes, 'bf16=True is left out: the file computes in float32.')
    what = f'the maps of the backbone ({cls.__name__}), without neck and heads'
    return Chosen(network.eval(), what, notes, maps=True, size=size_in(config))


def _classifier(
    name: str,
    options: Mapping[str, object],
    init_cfg: Mapping[str, object],
    checkpoint: str | None,
    features: bool,
    num_classes: int | None,
    dynamic: bool,
) -> Chosen:
    if num_classes is not None:
        if features:
            raise ExportError('--num-classes is for logits, and --features gives maps; leave one of them out.')
        options = {**options, 'num_classes': num_classes}
    if features:
        options = {**options, 'num_classes': 0, 'features_only': True}
    try:
        model = timm.create_model(name, **options)
    except (TypeError, ValueError) as error:
        raise ExportError(f'{name}: {error}') from error
    if dynamic:
        check_dynamic(model)
    notes = load(model.model if features else model, checkpoint, init_cfg, name)
    gives = 'maps' if features else 'logits' if model.num_classes else 'features'
    return Chosen(model.eval(), f'the {gives} of {name}', notes, maps=features)
