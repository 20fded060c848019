"""The network that a config's ``model.backbone`` means, with random weights."""

from collections.abc import Mapping

import timm
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..classification.teacher import name_and_options

OWN_TYPES = ('SSPVTv2', 'SSViT')
SCOPE = 'ss_backbones.'


def type_of(backbone: Mapping[str, object]) -> str:
    """What ``type`` names, without this package's scope; one of OWN_TYPES for this package's backbones."""
    return str(backbone.get('type')).removeprefix(SCOPE)


def build_backbone(backbone: Mapping[str, object], scope: str = 'mmengine') -> nn.Module:
    """A timm model where there is a ``name`` (a classifier's), else the registered class that ``type`` names.

    Args:
        backbone: The config's dict.
        scope: The config's default_scope, in which a ``type`` without a scope is looked for.

    Raises:
        KeyError: No such class is registered.
        TypeError: It does not take an argument.
        ValueError: timm has no such model, or an argument is out of its range.
    """
    if 'name' in backbone:
        name, options = name_and_options('backbone', backbone)
        return timm.create_model(name, **options)
    init_default_scope(scope)
    return MODELS.build(dict(backbone))
