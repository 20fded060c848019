"""Images and classes, read by timm's readers and augmented by timm's transforms."""

import logging
from collections.abc import Mapping
from struct import error as StructError

import torch
from mmengine.logging import print_log
from PIL import Image
from timm.data import ImageDataset as TimmImageDataset
from timm.data import create_dataset
from torch.utils.data import Dataset, IterableDataset

from ..registry import DATASETS
from ..training.seeds import Draw, seed_image
from .errors import DataError, check_class
from .folders import find_split
from .transforms import create_pipeline

LEFT_OUT = -1  # the class of an image that could not be read, for the metric to leave out
STREAMS = ('wds/', 'hfids/', 'tfds/')  # timm's readers that go through their data and cannot jump in them
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, StructError, Image.DecompressionBombError)  # what Pillow raises
_MOST_BROKEN = 10  # in a row: then it is not an image but the disk


@DATASETS.register_module()
def build_dataset(
    data_root: str,
    split: str,
    training: bool,
    transform: Mapping[str, object],
    name: str = '',
    on_broken: str = 'skip',
    batch_size: int = 1,
    num_workers: int = 0,
    seed: int = 0,
) -> Dataset:
    """A data set of timm's :func:`create_dataset`.

    Args:
        data_root: The folder that the data are in.
        split: Which part of them, such as 'train', 'val'.
        training: Whether it is trained on: decides about augmentation and shuffling.
        transform: Arguments of timm's :func:`create_transform`, such as ``input_size``.
        name: timm's name of the kind of data: '' for folders of classes or a .tar of them; 'wds/', 'hfds/NAME',
            'torch/NAME', ...
        on_broken: What becomes of an image that cannot be read: 'skip' names it, and takes the next one in training, or
            leaves it out of the evaluation; 'stop' names it and stops the run. Streams ('wds/' and the like) have
            their reader's own way.
        batch_size: Images of a batch, which streams want to know.
        num_workers: Worker processes, which streams want to know.
        seed: Seed of a stream's order.

    Raises:
        DataError: There are no data there, or an argument is out of its range.
    """
    if on_broken not in ('skip', 'stop'):
        raise DataError(f"on_broken={on_broken!r} is not possible; take 'skip' or 'stop'.")
    pipeline = create_pipeline(transform, training)
    root = find_split(data_root, split) if not name else data_root
    try:
        source = create_dataset(
            name, root, split, search_split=False, is_training=training, batch_size=batch_size, seed=seed
        )
    except ImportError as error:
        raise DataError(f'dataset {name!r} needs a package that is missing: {error}.') from error
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        raise DataError(f'timm cannot read the data set {name!r}, split {split!r}, in {data_root}: {error}') from error
    if isinstance(source, IterableDataset):
        source.transform = pipeline
        source.set_loader_cfg(num_workers=num_workers)
        return source
    return ImageDataset(source, pipeline, training, on_broken)


class ImageDataset(Dataset):
    """The images of a timm or torchvision data set, transformed; those that cannot be read are named.

    Args:
        source: The data set, without a transform.
        transform: From a PIL image in RGB to a tensor (C, H, W).
        training: Whether it is trained on.
        on_broken: As for :func:`build_dataset`.

    Attributes:
        class_to_idx: Class of every name, or nothing where the reader does not know it.
        metainfo: The names in the order of their classes, which mmengine keeps with checkpoints.
        num_classes: Classes of the head, if there is one to compare with.
    """

    def __init__(self, source: Dataset, transform: object, training: bool, on_broken: str) -> None:
        self.source = source
        self.transform = transform
        self.training = training
        self.on_broken = on_broken
        reader = getattr(source, 'reader', source)
        # timm's reader of .tar files has another name for it
        known = getattr(reader, 'class_to_idx', getattr(reader, 'class_name_to_idx', None))
        self.class_to_idx: Mapping[str, int] = known or {}
        self.metainfo = {'classes': tuple(sorted(self.class_to_idx, key=self.class_to_idx.get))}
        self.num_classes: int | None = None
        self._named: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: int | Draw) -> tuple[torch.Tensor, int]:
        """The image (C, H, W) in uint8, and its class.

        Raises:
            DataError: It cannot be read and the run is to stop, or too many in a row cannot.
            IndexError: There is no such image.
        """
        index, seed = draw if isinstance(draw, tuple) else (draw, None)
        if not 0 <= index < len(self):
            raise IndexError(f'image {index} of {len(self)}')  # what ends a loop over the data set
        image, target = self._readable(index)
        if self.num_classes is not None and target != LEFT_OUT:
            check_class(target, self.num_classes, self._name(index))
        if seed is not None:
            seed_image(seed)
        return self.transform(image), target

    def _readable(self, index: int) -> tuple[Image.Image, int]:
        for attempt in range(_MOST_BROKEN):
            here = (index + attempt) % len(self)
            try:
                return self._read(here)
            except _BROKEN as error:
                reason = f'{self._name(here)} cannot be read: {error}'
                if self.on_broken == 'stop':
                    raise DataError(f"{reason}. Fix or remove it, or skip such images with on_broken='skip'.") from None
                if here not in self._named:
                    self._named.add(here)
                    print_log(f'{reason}. Skipped.', logger='current', level=logging.WARNING)
                if not self.training:
                    return Image.new('RGB', (64, 64)), LEFT_OUT
        raise DataError(f'{_MOST_BROKEN} images in a row cannot be read, the last: {reason}. Is the disk all right?')

    def _read(self, index: int) -> tuple[Image.Image, int]:
        if not isinstance(self.source, TimmImageDataset):
            image, target = self.source[index]
            return image.convert('RGB'), int(target)
        file, target, *_ = self.source.reader[index]
        if isinstance(file, Image.Image):  # Hugging Face's sets may hold decoded images
            return file.convert('RGB'), int(target)
        with file:
            return Image.open(file).convert('RGB'), int(target)

    def _name(self, index: int) -> str:
        try:
            return f'image {self.source.filename(index, absolute=True)}'
        except (AttributeError, AssertionError, NotImplementedError):  # the reader has no names
            return f'image number {index}'
