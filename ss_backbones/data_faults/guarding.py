"""Names the file and the cause where an image cannot be read in training or testing, or leaves it out."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from ..errors import DataError
from ..registry import TRANSFORMS
from .faults import Fault
from .images import header_of, is_whole
from .samples import (
    Labels,
    channels_fault,
    is_label_map_step,
    labels_fault,
    map_size_fault,
    pixels_of,
    range_fault,
    reading_of,
    said_size,
    sample_faults,
    size_fault,
)

_MOST_IN_A_ROW = 10  # then it is not an image but the disk, or the pipeline


class BadDataError(DataError):
    """An image, its label map or its annotations cannot be used."""

    def __init__(self, text: str) -> None:
        # an error of a worker process comes here again with that worker's traceback before its text
        super().__init__(text.rpartition(f'{__name__}.{type(self).__name__}: ')[2].strip())


@TRANSFORMS.register_module()
class CheckImage:
    """A step after LoadImageFromFile: the file is whole, and of the size that its annotations say."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Leave the results as they are.

        Raises:
            BadDataError: The image is not as it should be.
        """
        path, said = results['img_path'], said_size(results)
        if said is not None and (size := _size(results['ori_shape'])) != said:
            raise BadDataError(str(size_fault(path, size, said)))
        if not is_whole(path):
            _raise(header_of(path))
        return results


@TRANSFORMS.register_module()
class CheckLabelMap:
    """A step after mmseg's LoadAnnotations, which takes 8 bits of every label and any size.

    Args:
        num_classes: Classes of the head.
        ignored: The label that is not trained on.
    """

    def __init__(self, num_classes: int, ignored: int = 255) -> None:
        self.labels = Labels(num_classes, ignored)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Leave the results as they are.

        Raises:
            BadDataError: The label map is not as it should be.
        """
        path, loaded = results['seg_map_path'], results['gt_seg_map']
        if loaded.ndim > 2:
            _raise(channels_fault(path))
        image = results.get('ori_shape')
        if image is not None and loaded.shape != tuple(image[:2]):
            _raise(map_size_fault(path, _size(loaded.shape), _size(image)))
        header = header_of(path)
        _raise(header)
        if header.mode[0] in 'IF':  # more than 8 bits
            largest = int(pixels_of(path).max(initial=0))
            if largest > 255:
                _raise(range_fault(path, largest))
        if wrong := self.labels.wrong(loaded):
            _raise(labels_fault(path, wrong, self.labels, bool(results.get('reduce_zero_label'))))
        return results


class Guard:
    """Takes the place of a data set's ``prepare_data``; see :func:`guard`.

    Args:
        dataset: A built BaseDataset.
        model: The model, which knows what labels there may be.
        skip: Whether an image that cannot be used is left out: the data set then takes another at random.

    Attributes:
        left_out: (N,) uint8, 1 for each image that was left out, in all processes that read.
    """

    def __init__(self, dataset: Any, model: nn.Module | None, skip: bool) -> None:
        self.dataset = dataset
        self.skip = skip
        self.left_out = torch.zeros(len(dataset), dtype=torch.uint8).share_memory_()
        self.reading = reading_of(dataset, model)
        self._checked: object = None  # the pipeline that has the steps of this module
        self._in_a_row = 0

    def __call__(self, index: int) -> Any:
        """What ``prepare_data`` gives, or None for an image that is left out.

        Raises:
            BadDataError: The image cannot be used, or too many in a row cannot.
            RuntimeError: A step failed for a reason that is not in the files.
        """
        self._add_steps()
        try:
            sample = type(self.dataset).prepare_data(self.dataset, index)
        except MemoryError:
            raise
        except Exception as error:  # a step may raise whatever it likes; the user has to know for which image
            self._in_a_row += 1
            problem = self._problem(index, error)
            if problem is None:
                problem = f'{self._name(index)}: {type(error).__name__} in the pipeline: {error}'
                if not self.skip or self._in_a_row > _MOST_IN_A_ROW:
                    raise RuntimeError(problem) from error
            if not self.skip:
                raise BadDataError(problem) from None
            if self._in_a_row > _MOST_IN_A_ROW:
                raise BadDataError(
                    f'{self._in_a_row} images in a row cannot be used, the last one: {problem} Is the disk all right?'
                ) from None
            if not self.left_out[index]:
                self.left_out[index] = 1
                print_log(f'{problem} It is left out.', logger='current', level=logging.WARNING)
            return None
        self._in_a_row = 0
        return sample

    def _add_steps(self) -> None:
        """Into the pipeline, and again into another one: hooks of mmdet put one in its place for the last epochs."""
        pipeline = getattr(self.dataset, 'pipeline', None)
        if pipeline is self._checked or self.reading is None:
            return
        self._checked = pipeline
        steps = []
        for step in getattr(pipeline, 'transforms', []):
            steps.append(step)
            if self.reading.images and type(step).__name__ == 'LoadImageFromFile':
                steps.append(CheckImage())
            elif self.reading.labels is not None and is_label_map_step(step):
                steps.append(CheckLabelMap(self.reading.labels.num_classes, self.reading.labels.ignored))
        if steps:
            pipeline.transforms = steps

    def _problem(self, index: int, error: Exception) -> str | None:
        """What is wrong with the files, if that is the reason."""
        if isinstance(error, BadDataError):
            return str(error)
        faults = sample_faults(self._info(index), self.reading) if self.reading is not None else []
        return str(faults[0]) if faults else None

    def _info(self, index: int) -> Mapping[str, Any]:
        info = self.dataset.get_data_info(index)
        return info if isinstance(info, Mapping) else {}

    def _name(self, index: int) -> str:
        return str(self._info(index).get('img_path', f'image number {index}'))


def guard(dataset: Any, model: nn.Module | None, skip: bool) -> list[Guard]:
    """Put a :class:`Guard` before every data set of mmengine's kind, out of wrappers such as RepeatDataset.

    Args:
        dataset: A data set; others than mmengine's, and those that read in a way of their own, are left as they are.
        model: See :class:`Guard`.
        skip: Whether images that cannot be used are left out; of data sets that are trained on alone, as the figures
            of a test would be those of other images.
    """
    guards = []
    for part in parts_of(dataset):
        part.prepare_data = Guard(part, model, skip and not part.test_mode)
        guards.append(part.prepare_data)
    return guards


def guards_of(dataset: Any) -> list[Guard]:
    """Those that :func:`guard` has put there."""
    return [part.prepare_data for part in parts_of(dataset) if isinstance(part.prepare_data, Guard)]


def parts_of(dataset: Any) -> Iterator[Any]:
    """The data sets that one consists of, as far as they read as mmengine's BaseDataset does: an image an index."""
    if getattr(getattr(type(dataset), 'prepare_data', None), '__module__', '') == 'mmengine.dataset.base_dataset':
        yield dataset
        return
    for name in ('dataset', '_dataset'):  # a wrapper's; of mmengine's own slice
        if (inner := getattr(dataset, name, None)) is not None:
            yield from parts_of(inner)
    for inner in getattr(dataset, 'datasets', ()):
        yield from parts_of(inner)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[1], shape[0]


def _raise(fault: object) -> None:
    if isinstance(fault, Fault):
        raise BadDataError(str(fault))
