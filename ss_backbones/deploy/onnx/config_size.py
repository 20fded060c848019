"""The size of the images that a config tests its network with."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ...openmmlab.test_data import evaluation_steps
from .sizes import ImageSize

_LONGEST = 2  # sides that differ more bound an image's short side alone: nearly none is 2048 x 512


def size_in(config: Config) -> ImageSize | None:
    """The size of a batch with one image in the test of a classifier, detector or segmenter; None if nothing says it.

    Where images keep their ratio, sizes vary: it is that of the largest landscape image, or, for a
    segmenter whose images are only bounded in their short side, that of the training's crops.
    """
    data = _mapping((config.get('test_dataloader') or {}).get('dataset'))
    if size := _height_width(_mapping(data.get('transform')).get('input_size')):
        return ImageSize(*size, 'input_size of the test data')
    model = config.get('model') or {}
    processor = _mapping(model.get('data_preprocessor') or config.get('data_preprocessor'))
    test = _mapping(model.get('test_cfg'))
    if test.get('mode') == 'slide' and (size := _height_width(test.get('crop_size'))):
        return ImageSize(*size, 'crop_size of the windows that slide over the image in the test')
    if size := _height_width(_mapping(processor.get('test_cfg')).get('size')):
        return ImageSize(*size, 'data_preprocessor.test_cfg.size')
    found = _of_steps(evaluation_steps(config), processor)
    return found and _padded(found, processor)


def _of_steps(steps: Sequence[Mapping[str, Any]], processor: Mapping[str, Any]) -> ImageSize | None:
    """What the steps of a test pipeline make of an image, one after the other."""
    found = None
    for step in steps:
        kind = step['type'] if isinstance(step['type'], str) else step['type'].__name__
        kind = kind.rpartition('.')[2]
        if kind.endswith('Resize') and (size := _height_width(step.get('scale'), width_first=True)):
            found = ImageSize(*size, f'{kind} to {_text(size)} in the test pipeline')
            crop = _height_width(processor.get('size'))
            if step.get('keep_ratio') and crop and max(size) > _LONGEST * min(size):
                found = ImageSize(*crop, f'data_preprocessor.size, as {kind} keeps the ratio of an image in the test')
            elif step.get('keep_ratio'):
                height, width = sorted(size)
                found = ImageSize(height, width, f'the most that {kind} leaves of a landscape image in the test')
        elif kind == 'Pad' and (size := _height_width(step.get('size'), width_first=True)):
            found = ImageSize(*size, f'{kind} to {_text(size)} in the test pipeline')
        elif found and step.get('size_divisor'):
            found = _multiple(found, step['size_divisor'])
    return found


def _padded(size: ImageSize, processor: Mapping[str, Any]) -> ImageSize:
    """What the data preprocessor fills a batch up to in the test."""
    for divisor in (processor.get('pad_size_divisor'), _mapping(processor.get('test_cfg')).get('size_divisor')):
        size = _multiple(size, divisor or 1)
    return size


def _multiple(size: ImageSize, divisor: int) -> ImageSize:
    height, width = (-(-side // divisor) * divisor for side in (size.height, size.width))
    if (height, width) == (size.height, size.width):
        return size
    return ImageSize(height, width, f'{size.reason}, filled up to multiples of {divisor}')


def _height_width(given: object, width_first: bool = False) -> tuple[int, int] | None:
    """Of a side, of two, or of channels and two; None for anything else, such as a choice of several."""
    sides = [given, given] if isinstance(given, int) else list(given)[-2:] if isinstance(given, Sequence) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return tuple(reversed(sides)) if width_first else tuple(sides)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'
