"""A data set of overlapping shapes: COCO-format instance masks, and the same as semantic label maps.

Only the outline tells a class from another: colour, texture, size and tilt are drawn at random.
The same parameters give the same bytes. Images lie in train/ and val/, label maps under the same names in train_maps/
and val_maps/: one byte a pixel, 0 for the background, then the classes in their order.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..errors import OutputError, UsageError

CLASSES = ('square', 'triangle', 'cross', 'ring')
PARAMETERS_FILE = 'shapes.json'
FORMAT_VERSION = 2  # raised whenever the same parameters begin to write something else
MIN_SIZE = 48

OBJECTS = (2, 4)  # how many shapes an image has, both ends included
RADIUS = (0.17, 0.26)  # of a shape's circumscribed circle, as a share of the image's side
MAX_TILT = np.deg2rad(20)  # from a shape's upright position, to either side
MIN_VISIBLE = 0.65  # the share of a shape that later shapes must leave visible
MIN_CONTRAST = 90.0  # between a shape's colour and those of the background and the other shapes, in RGB
OVERLAP_CHANCE = 0.5  # of placing a shape beside an earlier one instead of anywhere
TRIES = 40  # at a place and at a colour, before doing without


@dataclass(frozen=True)
class Parameters:
    """What decides every byte of a data set.

    Args:
        train: Training images.
        val: Held-out images.
        size: Side of an image in pixels.
        seed: Seed of everything that is drawn.
        version: Format of what is written.
    """

    train: int
    val: int
    size: int
    seed: int
    version: int = FORMAT_VERSION

    def check(self) -> None:
        for name in ('train', 'val'):
            if getattr(self, name) < 1:
                raise UsageError(f'--{name} is a number of images, at least 1, not {getattr(self, name)}.')
        if self.size < MIN_SIZE:
            raise UsageError(f'--size is the side of an image in pixels, at least {MIN_SIZE}, not {self.size}.')
        if self.seed < 0:
            raise UsageError(f'--seed is a whole number from 0 up, not {self.seed}.')

    def splits(self) -> dict[str, int]:
        return {'train': self.train, 'val': self.val}

    def options(self) -> str:
        return f'--train {self.train} --val {self.val} --size {self.size} --seed {self.seed}'


# --- one image


def unit_outlines(name: str) -> list[np.ndarray]:
    """The corners (N, 2) of an upright shape of radius 1: its outline, and that of its hole where it has one."""
    if name == 'ring':
        return [polygon(64), 0.5 * polygon(64)]
    if name == 'cross':  # y points down, and the four arms are one thickness long and wide
        inner, outer = 1 / np.sqrt(10), 3 / np.sqrt(10)
        arm = np.array([[-inner, -inner], [-inner, -outer], [inner, -outer]])
        quarter_turn = np.array([[0, 1], [-1, 0]])
        return [np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)])]
    return [polygon({'square': 4, 'triangle': 3}[name])]


def polygon(corners: int) -> np.ndarray:
    """A regular polygon (corners, 2) of radius 1 that stands on a side."""
    angles = np.pi / 2 + 2 * np.pi * (np.arange(corners) + 0.5) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def coverage(outlines: Sequence[np.ndarray], size: int) -> np.ndarray:
    """How much of each pixel (size, size) lies within an odd number of the outlines, from 0 to 1."""
    fine, bits = 4, 4  # samples a side within a pixel; fractional bits of cv2's coordinates
    corners = [np.round((outline * fine - 0.5) * 2**bits).astype(np.int32) for outline in outlines]
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    cv2.fillPoly(canvas, corners, 1, shift=bits)
    return canvas.reshape(size, fine, size, fine).mean(axis=(1, 3))


def texture(rng: np.random.Generator, size: int, amplitude: float) -> np.ndarray:
    """Smooth noise of several scales with a little grain, (size, size, 3) around 0."""
    noise = np.zeros((size, size, 3), np.float64)
    for cells in (3, 8, 20):
        shade = rng.normal(size=(cells, cells, 3)).mean(axis=2, keepdims=True)
        tint = 0.4 * rng.normal(size=(cells, cells, 3))
        noise += cv2.resize(shade + tint, (size, size), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(size=(size, size, 1))
    return amplitude * noise + 0.3 * amplitude * grain


def distant_colour(rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """A random colour that stands out from the others, or the best of those tried."""
    candidates = rng.uniform(25, 230, size=(TRIES, 3))
    distances = np.min([np.linalg.norm(candidates - other, axis=1) for other in others], axis=0)
    good = np.flatnonzero(distances >= MIN_CONTRAST)
    return candidates[good[0] if len(good) else int(distances.argmax())]


def place(rng: np.random.Generator, size: int, centres: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """A centre and a radius that keep the whole shape in the image, often beside an earlier shape."""
    radius = size * rng.uniform(*RADIUS)
    if centres and rng.random() < OVERLAP_CHANCE:
        angle, distance = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.9, 1.5)
        centre = centres[rng.integers(len(centres))] + distance * np.array([np.cos(angle), np.sin(angle)])
    else:
        centre = rng.uniform(radius, size - radius, size=2)
    return np.clip(centre, radius, size - radius), radius


@dataclass
class Shape:
    """A shape in an image of side ``size``."""

    label: int
    centre: np.ndarray
    full: np.ndarray  # (size, size) bool, as if nothing lay above
    visible: np.ndarray  # (size, size) bool, what later shapes leave of it
    alpha: np.ndarray  # (size, size), the share of each pixel that it covers


def new_shape(rng: np.random.Generator, size: int, label: int, below: Sequence[Shape]) -> Shape | None:
    """A shape that leaves enough of those below it visible, or None where no place was found."""
    for _ in range(TRIES):
        turn = rng.uniform(-MAX_TILT, MAX_TILT)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        centre, radius = place(rng, size, [shape.centre for shape in below])
        alpha = coverage([centre + radius * outline @ rotation for outline in unit_outlines(CLASSES[label])], size)
        full = alpha >= 0.5
        if all((shape.visible & ~full).sum() >= MIN_VISIBLE * shape.full.sum() for shape in below):
            return Shape(label, centre, full, full.copy(), alpha)
    return None


def draw_scene(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[Shape]]:
    """An RGB image (size, size, 3) in uint8 and its shapes from the bottom one up."""
    colours = [rng.uniform(25, 230, size=3)]
    canvas = colours[0] + texture(rng, size, amplitude=14.0)
    shapes: list[Shape] = []
    # The classes first, so that a class that is hard to place is not drawn less often.
    for label in rng.integers(len(CLASSES), size=rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
        added = new_shape(rng, size, int(label), shapes)
        if added is None:
            continue
        for shape in shapes:
            shape.visible &= ~added.full
        shapes.append(added)
        colours.append(distant_colour(rng, colours))
        canvas += added.alpha[..., None] * (colours[-1] + texture(rng, size, amplitude=7.0) - canvas)
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8), shapes


# --- a data set


def annotation(shape: Shape, annotation_id: int, image_id: int) -> dict:
    """COCO's record of a shape, all of it from the visible pixels."""
    rle = coco_mask.encode(np.asfortranarray(shape.visible.astype(np.uint8)))
    return {
        'id': annotation_id,
        'image_id': image_id,
        'category_id': shape.label + 1,
        'bbox': [float(value) for value in coco_mask.toBbox(rle)],
        'area': int(coco_mask.area(rle)),
        'iscrowd': 0,
        'segmentation': {'size': [int(value) for value in rle['size']], 'counts': rle['counts'].decode('ascii')},
    }


def label_map(shapes: Sequence[Shape], size: int) -> np.ndarray:
    """The class of each pixel (size, size) in uint8: that of the top-most shape plus 1, or 0 for the background."""
    classes = np.zeros((size, size), np.uint8)
    for shape in shapes:
        classes[shape.visible] = shape.label + 1
    return classes


def image_name(index: int) -> str:
    return f'{index:06d}.png'


def annotation_file(root: Path, split: str) -> Path:
    return root / 'annotations' / f'instances_{split}.json'


def map_folder(root: Path, split: str) -> Path:
    return root / f'{split}_maps'


def write_png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        raise OutputError(f'{path} could not be written.')


def write_split(root: Path, split: str, parameters: Parameters) -> None:
    for folder in (root / split, map_folder(root, split)):
        folder.mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(parameters.splits()[split]):
        # A generator for each image: image 7 stays the same when the number of images changes.
        rng = np.random.default_rng([parameters.seed, list(parameters.splits()).index(split), index])
        image, shapes = draw_scene(rng, parameters.size)
        write_png(root / split / image_name(index), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        write_png(map_folder(root, split) / image_name(index), label_map(shapes, parameters.size))
        images.append(
            {'id': index + 1, 'file_name': image_name(index), 'width': parameters.size, 'height': parameters.size}
        )
        annotations += [annotation(shape, len(annotations) + 1 + i, index + 1) for i, shape in enumerate(shapes)]
    categories = [{'id': i + 1, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES)]
    target = annotation_file(root, split)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))


def missing_files(root: Path, parameters: Parameters) -> list[Path]:
    expected = [annotation_file(root, split) for split in parameters.splits()]
    for split, count in parameters.splits().items():
        folders = (root / split, map_folder(root, split))
        expected += [folder / image_name(index) for folder in folders for index in range(count)]
    return [path for path in expected if not path.is_file()]


def read_parameters(path: Path) -> Parameters | None:
    try:
        return Parameters(**json.loads(path.read_text()))
    except (OSError, TypeError, ValueError):
        return None


def already_made(root: Path, parameters: Parameters) -> bool:
    """Whether root holds the data set asked for; raises where it holds anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise UsageError(f'{root} is a file. Give a new folder.')
    if not any(root.iterdir()):
        return False
    found = read_parameters(root / PARAMETERS_FILE)
    if found is None:
        raise UsageError(
            f'{root} is not empty and holds no shapes of this tool (no readable {PARAMETERS_FILE}).\n'
            'Nothing was written. Give a new or empty folder.'
        )
    if found.version != parameters.version and found.options() == parameters.options():
        raise UsageError(
            f'{root} holds this set of shapes as another version of this tool wrote it (format {found.version}, now '
            f'{parameters.version}).\nNothing was written. Give another folder, or delete this one and run this again.'
        )
    if found != parameters:
        raise UsageError(
            f'{root} holds another set of shapes. Nothing was written.\n'
            f'  asked for: {parameters.options()} (format {parameters.version})\n'
            f'  found:     {found.options()} (format {found.version})\n'
            'Give another folder, the options found there, or delete this one.'
        )
    missing = missing_files(root, parameters)
    if missing:
        raise UsageError(
            f'{root} is incomplete: {len(missing)} files are missing, {missing[0]} first.\n'
            'Nothing was written. Delete the folder and run this again.'
        )
    return True


def make_shapes(root: Path, parameters: Parameters) -> bool:
    """Write the data set; False where it was there already.

    Raises:
        UsageError: A number is out of its range, or there is something else.
        OutputError: A file cannot be written.
    """
    parameters.check()
    if already_made(root, parameters):
        return False
    # Drawn beside the target and renamed at the end, so that an interrupted run leaves no half a data set.
    draft = root.resolve().with_name(f'.{root.resolve().name}.{os.getpid()}')
    try:
        draft.mkdir(parents=True)
        for split in parameters.splits():
            write_split(draft, split, parameters)
        (draft / PARAMETERS_FILE).write_text(json.dumps(asdict(parameters), indent=2) + '\n')
        draft.rename(root.resolve())
    except OSError as error:
        if root.is_dir() and already_made(root, parameters):  # by another process in the meantime
            return False
        raise OutputError(f'{root} cannot be written: {error}') from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True
