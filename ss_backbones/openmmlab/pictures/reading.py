"""Images from files, and the library's way from its samples to what is painted."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import cv2
import mmcv
import torch
from torch import Tensor

from ...errors import DataError


def read_image(path: str) -> Tensor:
    """An image (3, H, W) in uint8, red first.

    Raises:
        DataError: It is missing, or cannot be decoded.
    """
    try:
        pixels = mmcv.imread(path)  # asked for red first, it would stumble over what is no image
    except (OSError, cv2.error) as error:
        raise DataError(f'{path} cannot be read as an image: {error}') from error
    if pixels is None:
        raise DataError(f'{path} cannot be read as an image. Is it one, and whole?')
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).contiguous()


def samples_of(library: str) -> ModuleType:
    """The module with ``truth`` and ``prediction`` for 'mmdet' or 'mmseg'; the other library need not be there."""
    return import_module(f'.{library}_samples', __package__)
