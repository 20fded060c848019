"""The network that a config's ``model.backbone`` means, with random weights."""

from collections.abc import Mapping
from contextlib import suppress

import timm
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from torch import nn

from ..registry import MODELS
from ..timm_models.models import name_and_options
from .backbone import Backbone


def own_class(backbone: Mapping[str, object]) -> type[nn.Module] | None:
    """This package's class that ``type`` names, with or without a scope, in full or as the class itself; or None."""
    kind = backbone.get('type')
    if isinstance(kind, str):
        with suppress(RuntimeError):  # what mmengine makes of the name of a module that fails
            kind = MODELS.get(kind)
    return kind if isinstance(kind, type) and issubclass(kind, Backbone) else None


def build_backbone(backbone: Mapping[str, object], scope: str | None = None) -> nn.Module:
    """A timm model where there is a ``name`` (a classifier's), else the registered class that ``type`` names.

    Args:
        backbone: The config's dict.
        scope: The config's library, in which a ``type`` without a scope is looked for.

    Raises:
        KeyError: No such class is registered.
        TypeError: It does not take an argument.
        ValueError: timm has no such model, or an argument is out of its range.
    """
    if 'name' in backbone:
        name, options = name_and_options('backbone', backbone)
        return timm.create_model(name, **options)
    init_default_scope(scope or 'mmengine')
    return ROOT_MODELS.build(dict(backbone))
