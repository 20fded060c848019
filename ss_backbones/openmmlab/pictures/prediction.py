"""Pictures of what a trained model sees in images that no data set knows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import to_pil_image

from ...errors import DataError, OutputError
from ...output_files import new_file
from ..configs import read_config
from ..inference import Inference
from .classes import Classes
from .painting import ClassMap, Instances, Seen, enlarged
from .reading import read_image, samples_of
from .sheet import sheet

LEAST_SIDE = 480  # pixels of a picture's longer side: smaller images are enlarged, so that names can be read
_MOST_NAMED = 6  # classes of a row of the table


@dataclass(frozen=True)
class Predicted:
    """What came of an image.

    Attributes:
        image: Its file.
        found: What was found in it, in words; or why it could not be read.
        picture: Where the picture is; None for an image that could not be read.
    """

    image: Path
    found: str
    picture: Path | None


def predict(
    name: str, checkpoint: str, given: Sequence[Path], folder: Path, score_thr: float, device: str
) -> list[Predicted]:
    """Draw what the model predicts for images, a picture ``folder``/NAME.png each.

    Args:
        name: A config of mmdet or mmseg.
        checkpoint: Weights of its model.
        given: Images, and folders of images.
        folder: For the pictures; it is made where it is missing.
        score_thr: Lowest score of an instance that counts.
        device: Where the model runs.

    Raises:
        UsageError: The config cannot be used, or there is no such device.
        CheckpointError: The checkpoint cannot be read, or is of another model.
        DataError: An image or a folder is missing, or a folder has no images.
        OutputError: Pictures would have the same name, exist already, or cannot be written.
    """
    images = find_images(given)
    pictures = _plan(images, folder)
    inference = Inference(name, read_config(name, {}, custom_imports=True), checkpoint, device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{folder} cannot be made ({error.strerror}). Give another folder: --out DIR') from error
    terminal = Console(stderr=True)
    steps = track(images, 'images', console=terminal, transient=True, disable=not sys.stderr.isatty())
    return [_predicted(inference, image, pictures[image], score_thr) for image in steps]


def find_images(given: Sequence[Path]) -> list[Path]:
    """The files among what is given and the images right in the folders, each once.

    Raises:
        DataError: Something is missing, or a folder has no images.
    """
    found: dict[Path, Path] = {}
    for path in given:
        for image in _images_in(path) if path.is_dir() else [path]:
            if not image.is_file():
                raise DataError(f'{image} does not exist. Give images, or folders of images.')
            found.setdefault(image.resolve(), image)
    return list(found.values())


def _images_in(folder: Path) -> Iterator[Path]:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
    if not images:
        raise DataError(
            f'The folder {folder} has no images ({", ".join(IMG_EXTENSIONS)}); those in folders below it do not count.'
        )
    yield from images


def _plan(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The picture of each image.

    Raises:
        OutputError: Two have the same name, something has that name already, or the folder is none.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f'{folder} is no folder. Give another one for the pictures: --out DIR')
    first: dict[Path, Path] = {}
    for image in images:
        picture = folder / f'{image.stem}.png'
        if picture in first:
            raise OutputError(
                f'{first[picture]} and {image} would both become {picture}. Give them in two calls, each with its own '
                '--out DIR'
            )
        if os.path.lexists(picture):
            raise OutputError(
                f'{picture} exists already and is never written over. Give a new folder (--out DIR), or move it away.'
            )
        first[picture] = image
    return {image: picture for picture, image in first.items()}


def _predicted(inference: Inference, file: Path, out: Path, score_thr: float) -> Predicted:
    try:
        image = read_image(str(file))
    except DataError as error:
        return Predicted(file, str(error), None)
    classes = Classes.of(inference.metainfo)
    found = samples_of(inference.library).prediction(inference(str(file)), score_thr, inference.model)
    panel, seen = enlarged(image, found, max(1, LEAST_SIDE / max(image.shape[1:])))
    panel = seen.painted(panel, classes)
    legend = {classes.name(label): classes.colour(label) for label in seen.legend()}
    picture = sheet([panel], 1, legend=legend) if legend else to_pil_image(panel)
    with new_file(out) as stream:
        picture.save(stream, format='PNG')
    return Predicted(file, in_words(found, classes, score_thr), out)


def in_words(seen: Seen, classes: Classes, score_thr: float) -> str:
    """Such as '2 ring (best 0.99), 1 square (best 0.54)', or 'sky 61.0%, road 39.0%'."""
    return _shares(seen, classes) if isinstance(seen, ClassMap) else _counts(seen, classes, score_thr)


def _shares(seen: ClassMap, classes: Classes) -> str:
    return _list([f'{classes.name(label)} {share:.1%}' for label, share in seen.shares().items()])


def _counts(seen: Instances, classes: Classes, score_thr: float) -> str:
    labels = seen.labels.tolist()
    if not labels:
        return f'nothing with a score from {score_thr:g}'
    best: dict[int, float] = {}
    for label, score in zip(labels, [] if seen.scores is None else seen.scores.tolist(), strict=False):
        best[label] = max(score, best.get(label, 0))
    return _list(
        [
            f'{count} {classes.name(label)}' + (f' (best {best[label]:.2f})' if best else '')
            for label, count in Counter(labels).most_common()
        ]
    )


def _list(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMED
    return ', '.join([*words[:_MOST_NAMED], *([f'{more} more'] if more > 0 else [])])
