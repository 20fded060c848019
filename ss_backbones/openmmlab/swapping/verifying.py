"""Whether a swapped config's model can be built, and its parts fit: without memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ...errors import UsageError
from .maps import NumbersStay

_SIDE = 256


def verify(config: Config, name: str, library: str) -> str:
    """Build a config's model on the meta device, and run what takes the backbone's maps there.

    Args:
        config: The swapped config.
        name: Its name, for errors.
        library: 'mmdet' or 'mmseg'.

    Returns:
        What was done, in words.

    Raises:
        UsageError: It cannot be built, or its parts do not fit.
    """
    try:
        with DefaultScope.overwrite_default_scope(library), torch.device('meta'), NumbersStay():
            model = MODELS.build(config.model)
    except Exception as error:  # of any part of any library
        raise UsageError(f'{name}: the model cannot be built: {type(error).__name__}: {error}') from error
    inner = getattr(model, 'detector', None) or getattr(model, 'student', None) or model
    try:
        inner.eval()
        with torch.no_grad(), torch.device('meta'):
            _run(inner, torch.empty(1, 3, _SIDE, _SIDE))
    except NotImplementedError:  # an operator without a kernel there
        return 'built'
    except Exception as error:
        raise UsageError(f'{name}: the parts of the model do not fit: {type(error).__name__}: {error}') from error
    return 'built, and run up to its heads'


def _run(model: nn.Module, images: torch.Tensor) -> None:
    maps = model.extract_feat(images)
    first = next(iter(_as_list(getattr(model, 'decode_head', None))), None)
    if first is not None and type(first).__name__ not in ('Mask2FormerHead', 'MaskFormerHead'):
        first(maps)
    for head in _as_list(getattr(model, 'auxiliary_head', None)):
        head(maps)


def _as_list(value: Any) -> Sequence[nn.Module]:
    if value is None:
        return []
    return list(value) if isinstance(value, nn.ModuleList | list | tuple) else [value]
