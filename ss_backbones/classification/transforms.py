"""timm's augmentations, with the one fixed that newer Pillows refuse."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from timm.data import create_transform
from timm.data.auto_augment import AugmentOp
from torch import nn


def create_pipeline(options: Mapping[str, object], training: bool) -> Callable[[object], object]:
    """timm's transforms from a PIL image to a tensor (C, H, W) in uint8, which is normalised on the device.

    In one of a thousand images of DeiT's recipe timm 1.0 asks for an image of 0 bits (PosterizeIncreasing at full
    strength). Older Pillows made it black; Pillow 13 raises a ValueError, which ends a training. It gets 1 bit here.

    Args:
        options: Arguments of timm's :func:`create_transform`.
        training: Whether to augment.
    """
    pipeline = create_transform(**options, is_training=training, use_prefetcher=True)
    for op in _operations(getattr(pipeline, 'transforms', ())):
        if op.name.startswith('Posterize'):
            op.level_fn = partial(_one_bit_or_more, op.level_fn)
    return pipeline


def _operations(parts: object) -> Iterator[AugmentOp]:
    """The operations inside of RandAugment, AutoAugment and the like."""
    if isinstance(parts, AugmentOp):
        yield parts
    elif isinstance(parts, list | tuple | nn.ModuleList):
        for part in parts:
            yield from _operations(part)
    else:
        for name in ('ops', 'policy', 'transforms'):
            if hasattr(parts, name):
                yield from _operations(getattr(parts, name))


def _one_bit_or_more(bits: Callable[..., tuple[int]], level: float, options: Mapping[str, object]) -> tuple[int]:
    return (max(1, bits(level, options)[0]),)
