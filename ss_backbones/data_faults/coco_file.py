"""What is wrong with a COCO annotation file, as mmdet's CocoDataset reads it."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .faults import Fault

_IMAGE = {'id': 'any', 'file_name': 'name', 'width': 'side', 'height': 'side'}
_EXPECTED = {'any': 'a value', 'name': 'a file name', 'side': 'a whole number of pixels'}
_MAKE = 'Correct the annotation file, or make it again.'


def coco_faults(path: str, classes: Sequence[str] | None) -> list[Fault]:
    """What would end in a traceback, or drop or rename annotations in silence.

    What is said of files that are missing, empty or no JSON is said elsewhere; they have no faults here.

    Args:
        path: The annotation file.
        classes: The data set's, in their order; None where nobody knows.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict):
        return [Fault(path, f'holds a {type(content).__name__}, expected a dict of images and annotations', _MAKE)]
    lists = {name: content.get(name, []) for name in ('images', 'annotations', 'categories')}
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return [Fault(path, f'{name} is no list of dicts', _MAKE)]
    return [
        *_image_faults(path, lists['images']),
        *_category_faults(path, lists['categories'], classes),
        *_annotation_faults(path, **lists),
    ]


def _image_faults(path: str, images: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    for number, image in enumerate(images):
        for key, kind in _IMAGE.items():
            if not _is(image.get(key), kind):
                where = f'{path}, image {image.get("file_name", number)}'
                yield Fault(where, f'{key} is {image.get(key)!r}, expected {_EXPECTED[kind]}', _MAKE)
    yield from _repeated(path, 'images', images)


def _category_faults(
    path: str, categories: Sequence[Mapping[str, Any]], classes: Sequence[str] | None
) -> Iterator[Fault]:
    yield from _repeated(path, 'categories', categories)
    names = [category.get('name') for category in categories]
    if not classes or not names:
        return
    missing = [name for name in classes if name not in names]
    if missing:
        yield Fault(
            path,
            f'has no category {", ".join(map(repr, missing[:5]))}{" and others" if len(missing) > 5 else ""} '
            f'of the {len(classes)} classes; it has {", ".join(map(repr, names[:5]))}'
            f'{", ..." if len(names) > 5 else ""}',
            "Name the file's categories in metainfo=dict(classes=(...)) of all data sets, in its order, and set "
            'num_classes in the heads: what has no class is left out, and labels are counted without what is missing.',
        )
    elif [name for name in names if name in classes] != list(classes):
        yield Fault(
            path,
            'has its categories in another order than the classes, so that labels would get the names of others',
            "Give metainfo=dict(classes=(...)) of all data sets in the file's order.",
        )


def _annotation_faults(
    path: str,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
) -> Iterator[Fault]:
    yield from _repeated(path, 'annotations', annotations)
    files = {image.get('id'): image.get('file_name') for image in images if _is_id(image.get('id'))}
    known = {category.get('id') for category in categories if _is_id(category.get('id'))}
    homeless = 0
    for number, annotation in enumerate(annotations):
        image = annotation.get('image_id')
        if not _is_id(image) or image not in files:
            homeless += 1
            continue
        where = f'{path}, annotation {annotation.get("id", f"number {number}")} of {files[image]}'
        if not _is_id(annotation.get('id')):
            yield Fault(where, f'id is {annotation.get("id")!r}, expected a number of its own', _MAKE)
        if annotation.get('ignore'):
            continue
        box, area, category = (annotation.get(key) for key in ('bbox', 'area', 'category_id'))
        if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_is_number, box)):
            yield Fault(where, f'bbox is {box!r}, expected four numbers (x, y, width, height)', _MAKE)
        if not _is_number(area):
            yield Fault(where, f'area is {area!r}, expected a number', _MAKE)
        if not _is_id(category) or category not in known:
            yield Fault(where, f'category_id is {category!r}, which no category has', _MAKE)
    if annotations and homeless == len(annotations):
        example = annotations[0].get('image_id')
        yield Fault(path, f'no annotation belongs to an image: image_id is {example!r}, which no image has', _MAKE)


def _repeated(path: str, name: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    counts = Counter(entry.get('id') for entry in entries if _is_id(entry.get('id')))
    twice = [number for number, count in counts.items() if count > 1]
    if twice:
        yield Fault(path, f'{len(twice)} ids of {name} stand there more than once, such as {twice[0]!r}', _MAKE)


def _is(value: object, kind: str) -> bool:
    if kind == 'name':
        return isinstance(value, str) and bool(value)
    if kind == 'side':
        return _is_number(value) and value > 0 and value == int(value)
    return _is_id(value)


def _is_id(value: object) -> bool:
    return isinstance(value, int | str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
