"""Which maps a backbone gives, by running it without memory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_SIDE = 256  # pixels, for backbones that take any size
_NO_NUMBERS = (
    'init_cfg',
    'pretrained',
    'dcn',
    'stage_with_dcn',
    'plugins',
)  # change no shape; some have no meta kernels


@dataclass(frozen=True)
class Maps:
    """The maps of a backbone, the finest first.

    Args:
        channels: Of each.
        strides: In pixels of the image.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __str__(self) -> str:
        return ', '.join(f'{c} at stride {s}' for c, s in zip(self.channels, self.strides, strict=True))

    @property
    def is_pyramid(self) -> bool:
        """Whether each is coarser than the one before."""
        return all(a < b for a, b in zip(self.strides, self.strides[1:], strict=False))


def maps_of(backbone: Mapping[str, Any], scope: str) -> Maps | None:
    """The maps of a config's backbone; None if it cannot be built or run, or gives something else.

    Args:
        backbone: The config's dict.
        scope: The library whose registry its type is looked for in first.
    """
    given = {key: value for key, value in deepcopy(dict(backbone)).items() if key not in _NO_NUMBERS}
    found = None
    for device in ('meta', 'cpu'):  # some look at numbers as they are built, and have none without memory
        try:
            found = _run(given, scope, device)
            break
        except Exception:  # whatever other libraries' backbones raise: their maps are not known then
            continue
    if isinstance(found, Tensor):
        found = (found,)
    if not isinstance(found, tuple | list) or not all(isinstance(x, Tensor) and x.ndim == 4 for x in found):
        return None
    height = _side_of(given)[0]
    return Maps(tuple(x.shape[1] for x in found), tuple(round(height / x.shape[2]) for x in found))


class NumbersStay(TorchFunctionMode):
    """Inside of torch.device('meta') the rows of numbers that constructors read are made with values all the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.linspace:  # the drop-path rates of vision transformers
            given['device'] = 'cpu'
        return func(*args, **given)


@torch.no_grad()
def _run(backbone: Mapping[str, Any], scope: str, device: str) -> object:
    with DefaultScope.overwrite_default_scope(scope), torch.device(device), NumbersStay():
        network: nn.Module = MODELS.build(dict(backbone)).to(device)
        network.eval()  # of some it returns nothing
        return network(torch.zeros(1, backbone.get('in_channels', 3), *_side_of(backbone)))


def _side_of(backbone: Mapping[str, Any]) -> tuple[int, int]:
    size = backbone.get('img_size') or backbone.get('pretrain_img_size')
    if isinstance(size, int):
        return size, size
    return tuple(size) if size else (_SIDE, _SIDE)
