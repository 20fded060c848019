"""What other projects and libraries make of weights, to hold this package's against."""

import re

import torch
from PIL import Image
from torch import Tensor


def to_pvt(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """This package's keys as whai362/PVT writes them."""
    return {_pvt_key(key): value for key, value in weights.items()}


def _pvt_key(key: str) -> str:
    key = re.sub(r'^patch_embed\.', 'patch_embed1.', key)
    key = re.sub(r'^stages\.(\d)\.downsample\.', lambda m: f'patch_embed{int(m[1]) + 1}.', key)
    key = re.sub(r'^stages\.(\d)\.blocks\.', lambda m: f'block{int(m[1]) + 1}.', key)
    key = re.sub(r'^stages\.(\d)\.norm\.', lambda m: f'norm{int(m[1]) + 1}.', key)
    return key.replace('.dwconv.', '.dwconv.dwconv.')


def resized_by_pillow(rows: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resizing of (h, w, C), channel by channel, with another library."""
    planes = [Image.fromarray(plane.numpy(), mode='F') for plane in rows.permute(2, 0, 1).contiguous()]
    resized = [plane.resize((width, height), Image.Resampling.BICUBIC) for plane in planes]
    return torch.stack([torch.tensor(plane.getdata()).reshape(height, width) for plane in resized], dim=-1)
