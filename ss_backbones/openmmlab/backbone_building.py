"""The network that a config's ``model.backbone`` means, with random weights."""

from collections.abc import Mapping
from contextlib import suppress

import timm
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from torch import nn

from ..registry import MODELS
from .backbone import Backbone


def own_class(backbone: Mapping[str, object]) -> type[nn.Module] | None:
    """This package's class that ``type`` names, with or without a scope, in full or as the class itself; or None."""
    kind = backbone.get('type')
    if isinstance(kind, str):
        with suppress(RuntimeError):  # what mmengine makes of the name of a module that fails
            kind = MODELS.get(kind)
    return kind if isinstance(kind, type) and issubclass(kind, Backbone) else None


def name_and_options(what: str, model: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """What a config says of a timm model: its name, and the other arguments of ``timm.create_model``.

    Raises:
        ValueError: timm has no such model; ``what`` says which part of the config it is.
    """
    options = dict(model)
    name = options.pop('name', None)
    if not isinstance(name, str) or not timm.is_model(name):
        near = timm.list_models(f'*{name}*')[:3] or timm.list_models('ss_*')
        raise ValueError(f'{what}: name={name!r} is no timm model; there are {", ".join(near)}.')
    return name, options


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
