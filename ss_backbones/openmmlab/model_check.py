"""Looks for arguments of this package's classes that cannot be, before anything large is built."""

from collections.abc import Mapping
from typing import Any

import torch

from ..registry import MODELS
from .layer_decay import LayerDecayOptimizerConstructor

_SCOPE = 'ss_backbones.'


def find_misfit(config: Mapping[str, Any], tool: str) -> str | None:
    """Returns what is wrong with the backbone, or with the optimiser if ``tool`` is 'train', or None."""
    model = config.get('model') or {}
    backbone = dict(model.get('backbone') or {})
    cls = MODELS.module_dict.get(str(backbone.pop('type', '')).removeprefix(_SCOPE))
    if cls is None:
        return None
    if model.get('pretrained') is not None:
        return (
            f'model.pretrained={model["pretrained"]!r} would be handed to {cls.__name__}, which takes its weights by '
            'init_cfg. Set model.pretrained=None, and model.backbone.init_cfg to the weights.'
        )
    name = cls.__name__
    try:
        with torch.device('meta'):  # no memory, no initialisation
            cls(**backbone)
        wrapper = dict(config.get('optim_wrapper') or {})
        if tool == 'train' and wrapper.get('constructor') == _SCOPE + LayerDecayOptimizerConstructor.__name__:
            name = LayerDecayOptimizerConstructor.__name__
            LayerDecayOptimizerConstructor(wrapper, wrapper.get('paramwise_cfg'))
    except (TypeError, ValueError) as error:
        return f'{name}: {error}'
    return None
