"""Whether a swapped config's model can be built, and its parts fit: without memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ...errors import UsageError
from ..backbone_building import own_class
from .idle import find_idle
from .maps import NumbersStay, maps_of

RUN, BUILT = 'built, and run up to its heads', 'built'
_SIDE = 256
# what mmcv's operators say on the meta device, and torch where a number is wanted
_ONLY_THERE = ('implementation for device meta not found', 'cannot be called on meta tensors')


def verify(config: Config, old: Config, name: str, library: str) -> str:
    """Build a config's model on the meta device, and run what takes the backbone's maps there.

    Args:
        config: The swapped config.
        old: The config that it was.
        name: Its name, for errors.
        library: 'mmdet' or 'mmseg'.

    Returns:
        What was done, in words.

    Raises:
        UsageError: It cannot be built although the old one can, or its parts do not fit.
    """
    model = _build(config, library)
    if isinstance(model, Exception):
        before = _build(old, library)
        if isinstance(before, Exception) and str(before) == str(model):
            return f'not built, as the config that it inherits from cannot be built here either ({_line(model)})'
        raise UsageError(f'{name}: the model cannot be built: {_line(model)}') from model
    return _fit(model, name)


def check_fit(config: Config, name: str, library: str) -> str:
    """Whether a model's parts fit together, without memory; one that cannot be built so is not looked at.

    Args:
        config: A config with a backbone of this package; others are not looked at.
        name: Its name, for errors.
        library: 'mmdet' or 'mmseg'.

    Returns:
        Which of the backbone's parameters are not trained, as nothing uses a map of theirs, and what to do, in words;
        empty where all are. One process trains all the same; DDP stops in its second step.

    Raises:
        UsageError: A neck or head does not take what the backbone gives.
    """
    backbone = (config.get('model') or {}).get('backbone') or {}
    if own_class(backbone) is None:
        return ''
    model = _build(config, library)
    if isinstance(model, Exception):
        return ''
    try:
        _fit(model, name)
    except UsageError as error:
        raise UsageError(
            f'{error}\nThe backbone gives maps with {maps_of(backbone, library)}: set in_channels (and in_index) of '
            'the neck and the heads to them. ss-backbones swap writes configs in which they are set.'
        ) from error
    return _describe_idle(_inner(model), config.model, name)


def _describe_idle(model: nn.Module, config: Mapping[str, Any], name: str) -> str:
    if len(_as_list(getattr(model, 'decode_head', None))) > 1:  # what the second one uses is not seen
        return ''
    images = torch.empty(1, 3, _SIDE, _SIDE, device='meta')
    try:
        with torch.device('meta'):
            idle = find_idle(model.backbone, lambda: _run(model, images))
    except (NotImplementedError, RuntimeError):  # not to be run so, or an operator without a gradient there
        return ''
    if not idle.parameters:
        return ''
    advice = ''
    if idle.maps:
        kept = [place for place in range(idle.count) if place not in idle.maps]
        indices = tuple(model.backbone.out_indices[place] for place in kept)
        advice = f' Take only what is used: model.backbone.out_indices={_option(indices)}'
        neck = config.get('neck')
        channels = neck.get('in_channels') if isinstance(neck, Mapping) else None
        if isinstance(channels, list | tuple) and len(channels) == idle.count and neck.get('start_level'):
            channels = _option([channels[place] for place in kept])
            advice += f' model.neck.in_channels={channels} model.neck.start_level=0 (with --cfg-options).'
        else:
            advice += ', with in_channels (and in_index) of the neck and the heads accordingly.'
    return f'{name}: {idle}.{advice} For several processes find_unused_parameters=True is another way.'


def _option(numbers: Sequence[int]) -> str:
    """As --cfg-options takes them."""
    return str(list(numbers)).replace(' ', '')


def _fit(model: nn.Module, name: str) -> str:
    """Run what takes the backbone's maps, and say how far it came.

    Raises:
        UsageError: They do not fit.
    """
    model = _inner(model).eval()
    try:
        with torch.no_grad(), torch.device('meta'):
            _run(model, torch.empty(1, 3, _SIDE, _SIDE))
    except NotImplementedError:  # a part that wants more, or an operator without a kernel there
        return BUILT
    except Exception as error:  # of any part of any library
        if any(words in str(error) for words in _ONLY_THERE):
            return BUILT
        raise UsageError(f'{name}: the parts of the model do not fit: {_line(error)}') from error
    return RUN


def _build(config: Config, library: str) -> nn.Module | Exception:
    try:
        with DefaultScope.overwrite_default_scope(library), torch.device('meta'), NumbersStay():
            return MODELS.build(deepcopy(config.model)).to('meta')  # some detectors write in it
    except Exception as error:  # of any part of any library
        return error


def _line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def _inner(model: nn.Module) -> nn.Module:
    """The detector in a tracker or in what has a teacher."""
    return getattr(model, 'detector', None) or getattr(model, 'student', None) or model


def _run(model: nn.Module, images: torch.Tensor) -> list[object]:
    """What takes the backbone's maps, and what that gives: the neck, and in a segmenter the heads."""
    if not hasattr(model, 'extract_feat'):  # a tracker of many images at once
        raise NotImplementedError
    maps = model.extract_feat(images)
    heads = [*_as_list(getattr(model, 'decode_head', None))[:1], *_as_list(getattr(model, 'auxiliary_head', None))]
    results = []
    for head in heads:
        if hasattr(head, 'pixel_decoder'):  # it wants to know more of the images
            raise NotImplementedError
        results.append(head(maps))
    return results or [maps]


def _as_list(value: Any) -> Sequence[nn.Module]:
    if value is None:
        return []
    return list(value) if isinstance(value, nn.ModuleList | list | tuple) else [value]
