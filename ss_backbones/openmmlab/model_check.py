"""Looks for arguments of this package's classes that cannot be, before anything large is built."""

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import UsageError
from .backbone_building import own_class
from .layer_decay import LayerDecayOptimizerConstructor


def check_model(config: Mapping[str, Any], tool: str, name: str) -> None:
    """Whether the backbone can be built, and its layer-wise learning rates where ``tool`` is 'train'.

    Args:
        config: What the config holds; another library's backbone is not looked at.
        tool: What the config is for.
        name: Its name, for the error.

    Raises:
        UsageError: They cannot.
    """
    model = config.get('model') or {}
    given = model.get('backbone') or {}
    cls = own_class(given)
    if cls is None:
        return
    options = {key: value for key, value in given.items() if key not in ('type', '_scope_')}
    if model.get('pretrained') is not None:
        raise UsageError(
            f'{name}: model.pretrained={model["pretrained"]!r} would be handed to {cls.__name__}, which takes its '
            'weights by init_cfg. Set model.pretrained=None, and model.backbone.init_cfg to the weights.'
        )
    try:
        what = cls.__name__
        with torch.device('meta'):  # no memory, no initialisation
            cls(**options)
        wrapper = dict(config.get('optim_wrapper') or {})
        constructor = str(wrapper.get('constructor'))  # a scope alone tells it from mmseg's of the same name
        what = LayerDecayOptimizerConstructor.__name__
        if tool == 'train' and constructor.startswith('ss_backbones.') and constructor.endswith(f'.{what}'):
            LayerDecayOptimizerConstructor(wrapper, wrapper.get('paramwise_cfg'))
    except (TypeError, ValueError) as error:
        raise UsageError(f'{name}: {what}: {error}') from error
