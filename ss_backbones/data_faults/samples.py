"""What is wrong with one image of a data set and what belongs to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from .faults import Fault
from .images import UNREADABLE, Header, header_of

_NEAREST = 'Make both of one size; a label map is resized with nearest neighbour.'
_MASKS = 'Add the masks, or take a config that needs none'


@dataclass(frozen=True)
class Labels:
    """What may stand in a label map.

    Args:
        num_classes: Classes of the head.
        ignored: The label that is not trained on.
    """

    num_classes: int
    ignored: int = 255

    @classmethod
    def of(cls, model: nn.Module | None, classes: int) -> 'Labels':
        """Those of a segmenter's head; without one, of so many ``classes``."""
        head = getattr(getattr(model, 'module', model), 'decode_head', None)
        if isinstance(head, nn.ModuleList):
            head = head[-1]
        ignored = getattr(head, 'ignore_index', 255)
        # one class is told from the background by a sigmoid
        return cls(max(getattr(head, 'num_classes', classes), 2), ignored if isinstance(ignored, int) else 255)

    def wrong(self, loaded: np.ndarray) -> list[int]:
        """The labels of a map, as the loss will see them, that no class has."""
        wrong = (loaded >= self.num_classes) & (loaded != self.ignored)
        return [] if not wrong.any() else sorted(map(int, np.unique(loaded[wrong])))


@dataclass(frozen=True)
class Reading:
    """How a data set's pipeline reads its files, as far as it tells what must be in them.

    Args:
        images: Whether mmcv's own step reads them.
        turned: Whether images that lie on their side, according to their EXIF data, are turned.
        masks: Whether every annotation must have a mask.
        labels: What may stand in label maps; None where there are none.
        backend: What decodes label maps, 'pillow' or 'cv2'; None for another.
        scale: The smallest scale, a long and a short side, that images are resized to with their ratio kept.
        least_side: Images with a shorter side are left out by the data set itself.
    """

    images: bool = True
    turned: bool = True
    masks: bool = False
    labels: Labels | None = None
    backend: str | None = None
    scale: tuple[float, float] | None = None
    least_side: int = 0


def is_local(backend: Mapping[str, Any] | None) -> bool:
    """Whether these ``backend_args``, of a data set or a step, read files of this machine."""
    return (backend or {}).get('backend', 'local') in ('local', 'disk')


def reading_of(dataset: Any, model: nn.Module | None = None) -> Reading | None:
    """Ask a data set of mmdet or mmseg for its pipeline; None where its files are not on a disk, or nobody knows how.

    Args:
        dataset: A built BaseDataset.
        model: The segmenter, which knows what labels there may be.
    """
    steps = list(getattr(getattr(dataset, 'pipeline', None), 'transforms', ()))
    loading = next((step for step in steps if type(step).__name__ == 'LoadImageFromFile'), None)
    for part in (dataset, *steps):
        if not is_local(getattr(part, 'backend_args', None)):
            return None
    maps = next((step for step in steps if is_label_map_step(step)), None)
    labels = backend = None
    if maps is not None:
        labels = Labels.of(model, len(dataset.metainfo.get('classes') or ()))
        backend = maps.imdecode_backend if maps.imdecode_backend in ('pillow', 'cv2') else None
    scales = [scale for step in steps if (scale := _smallest_scale(step)) is not None]
    filters = {} if dataset.test_mode else getattr(dataset, 'filter_cfg', None) or {}
    return Reading(
        images=loading is not None and type(loading).__module__.startswith('mmcv.'),
        turned=not str(getattr(loading, 'color_type', '')).endswith(('ignore_orientation', 'unchanged')),
        masks=any(getattr(step, 'with_mask', False) for step in steps),
        labels=labels,
        backend=backend,
        scale=min(scales, default=None),
        least_side=filters.get('min_size', 0),
    )


def is_label_map_step(step: object) -> bool:
    """Whether it is mmseg's LoadAnnotations, or one that is made of it."""
    return any(cls.__name__ == 'LoadAnnotations' and cls.__module__.startswith('mmseg.') for cls in type(step).__mro__)


def sample_faults(info: Mapping[str, Any], reading: Reading) -> list[Fault]:
    """What is wrong with an image, its label map and its annotations; the first thing that is wrong with each file.

    Args:
        info: What the data set says of it (``get_data_info``).
        reading: How it is read.
    """
    path = info.get('img_path')
    if not isinstance(path, str):
        return []
    header = header_of(path) if reading.images else None
    if isinstance(header, Fault):
        return [header]
    found = [*_size_faults(path, header, info, reading)] if header else []
    found += _annotation_faults(path, info, reading)
    map_path = info.get('seg_map_path')
    if reading.labels is not None and isinstance(map_path, str):
        fault = label_map_fault(map_path, header, info, reading)
        found += [fault] if fault else []
    return found


def said_size(info: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that the annotations say."""
    width, height = info.get('width'), info.get('height')
    numbers = isinstance(width, int | float) and isinstance(height, int | float)
    return (int(width), int(height)) if numbers else None


def size_fault(path: str, size: tuple[int, int], said: tuple[int, int]) -> Fault:
    """An image has another (width, height) than its annotations say."""
    return Fault(
        path,
        f'has {size[0]} x {size[1]} pixels, its annotations say {said[0]} x {said[1]}',
        'Correct width and height in the annotation file, and see whether the boxes are meant for this size.',
    )


def map_size_fault(path: str, size: tuple[int, int], image: tuple[int, int]) -> Fault:
    """A label map has another (width, height) than its image."""
    return Fault(path, f'has {size[0]} x {size[1]} pixels, its image {image[0]} x {image[1]}', _NEAREST)


def labels_fault(path: str, wrong: Sequence[int], labels: Labels, reduced: bool) -> Fault:
    """A label map has labels that no class has; ``reduced`` where one was taken off all of them."""
    some = ', '.join(map(str, wrong[:5])) + (', ...' if len(wrong) > 5 else '')
    return Fault(
        path,
        f'has labels that no class has ({some}{" after reduce_zero_label" if reduced else ""}); there are classes 0 to '
        f'{labels.num_classes - 1}, and {labels.ignored} is ignored',
        "Correct the map, or set num_classes in all heads and the data set's metainfo, or ignore_index.",
    )


def channels_fault(path: str) -> Fault:
    """A label map has colours."""
    return Fault(
        path,
        'has colours, expected one label a pixel',
        'Write it again as one 8-bit number a pixel: the index of the class of its colour.',
    )


def range_fault(path: str, largest: int) -> Fault:
    """A label map of more than 8 bits has labels above 255."""
    return Fault(
        path,
        f'has the label {largest}, which would be read as {largest % 256}: mmsegmentation takes 8 bits of it',
        'Write labels of 0 to 255, 255 for what is to be ignored.',
    )


def label_map_fault(path: str, image: Header | None, info: Mapping[str, Any], reading: Reading) -> Fault | None:
    """What is wrong with a label map.

    Args:
        path: Its file.
        image: Of its image, where that is known.
        info: What the data set says of both.
        reading: How it is read; its ``labels`` are set.
    """
    header = header_of(path)
    if isinstance(header, Fault):
        return header
    if image is not None and header.size != (expected := _as_read(image, reading)):
        return map_size_fault(path, header.size, expected)
    loaded = _decode(path, reading.backend)
    if loaded is None or isinstance(loaded, Fault):
        return loaded
    if loaded.ndim > 2:
        return channels_fault(path)
    if loaded.dtype != np.uint8:
        largest = int(loaded.max(initial=0))
        if largest > 255:
            return range_fault(path, largest)
        loaded = loaded.astype(np.uint8)
    reduced = bool(info.get('reduce_zero_label'))
    meaning = _meanings(reduced, info.get('label_map'))
    there = np.flatnonzero(np.bincount(loaded.ravel(), minlength=256)).astype(np.uint8)
    wrong = reading.labels.wrong(meaning[there])
    return labels_fault(path, wrong, reading.labels, reduced) if wrong else None


def _meanings(reduced: bool, label_map: Mapping[int, int] | None) -> np.ndarray:
    """For each of the 256 labels in a file what mmseg's LoadAnnotations makes of it."""
    meaning = np.arange(256)
    if reduced:
        meaning = np.where((meaning == 0) | (meaning == 255), 255, meaning - 1)
    before = meaning.copy()
    for old, new in (label_map or {}).items():
        meaning[before == old] = new
    return meaning % 256


def _decode(path: str, backend: str | None) -> np.ndarray | Fault | None:
    """As mmcv's imfrombytes with 'unchanged' reads it; None for a backend that is not known here."""
    if backend == 'pillow':
        try:
            return pixels_of(path)
        except UNREADABLE as error:
            return Fault(path, f'cannot be decoded ({error})', 'Write it again.')
    if backend == 'cv2':
        import cv2

        loaded = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        return Fault(path, 'cannot be decoded by OpenCV', 'Write it again.') if loaded is None else loaded
    return None


def pixels_of(path: str) -> np.ndarray:
    """A file's pixels as they are, (H, W) or (H, W, C)."""
    with Image.open(path) as image:
        return np.asarray(image)


def _as_read(header: Header, reading: Reading) -> tuple[int, int]:
    return header.size[::-1] if header.on_its_side and reading.turned else header.size


def _size_faults(path: str, header: Header, info: Mapping[str, Any], reading: Reading) -> Iterator[Fault]:
    size, said = _as_read(header, reading), said_size(info)
    if said is not None and size != said:
        yield size_fault(path, size, said)
    elif reading.scale is not None and min(size) >= reading.least_side:
        factor = min(reading.scale[0] / max(size), reading.scale[1] / min(size))
        if int(min(size) * factor + 0.5) < 1:
            yield Fault(
                path,
                f'has {size[0]} x {size[1]} pixels, of which nothing is left when it is resized to '
                f'{reading.scale[0]:g} x {reading.scale[1]:g} with its ratio kept',
                'Cut it into pieces, or leave it out.',
            )


def _annotation_faults(path: str, info: Mapping[str, Any], reading: Reading) -> Iterator[Fault]:
    said = said_size(info)
    for number, instance in enumerate(info.get('instances') or ()):
        mask = instance.get('mask')
        where = f'{path}, annotation {number}'
        if not reading.masks:
            continue
        if mask is None:
            yield Fault(
                where,
                'has no mask (segmentation), and the config trains on masks',
                f'{_MASKS}, such as one of configs/retinanet/.',
            )
        elif isinstance(mask, Mapping) and said and tuple(mask.get('size', ())) != said[::-1]:
            yield Fault(
                where,
                f'has a mask whose size (height, width) is {list(mask.get("size", ()))}, and the image '
                f'{list(said[::-1])}',
                'Encode the mask again at the size of its image.',
            )


def _smallest_scale(step: object) -> tuple[float, float] | None:
    """Of the steps that resize and may keep the ratio: the smallest (long side, short side)."""
    name = type(step).__name__
    keeps = getattr(step, 'keep_ratio', None)
    if name in ('RandomResize', 'RandomChoiceResize'):
        keeps = (getattr(step, 'resize_cfg', None) or {}).get('keep_ratio', False)
    elif name != 'Resize':
        return None
    scales = getattr(step, 'scales', None) or [getattr(step, 'scale', None)]
    if not keeps or not all(_is_pair(scale) for scale in scales):
        return None
    least = (getattr(step, 'ratio_range', None) or (1,))[0] if name == 'RandomResize' else 1
    return min((max(scale) * least, min(scale) * least) for scale in scales)


def _is_pair(scale: object) -> bool:
    return isinstance(scale, tuple | list) and len(scale) == 2 and all(isinstance(side, int | float) for side in scale)
