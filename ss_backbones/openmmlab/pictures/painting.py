"""What is seen in an image, painted on it in the colours of the classes: instances, or the classes of all pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from .classes import Classes, Colour

NOTHING = -1  # the label of a pixel that is of no class
_ALPHA = 0.6
_FONT = Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf'
_SMALLEST_FONT, _SIDE_PER_FONT = 11, 50  # pixels; and pixels of an image's longer side for one of the font
_FONT_PER_LINE = 6  # the font's pixels for one of a line's width


@dataclass(frozen=True)
class Instances:
    """The objects in an image.

    Args:
        boxes: (N, 4), left, top, right and bottom in pixels.
        labels: (N,), whole numbers.
        scores: (N,), from 0 to 1; None for the truth.
        masks: (N, H, W), bool; None where there are only boxes.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def resized(self, height: int, width: int, factor: float) -> Instances:
        """The same for the image resized by ``factor`` to (height, width)."""
        masks = self.masks
        if masks is not None:
            masks = _stacked([_smooth(mask, height, width) >= 0.5 for mask in masks], height, width)
        return Instances(self.boxes * factor, self.labels, self.scores, masks)

    def painted(self, image: Tensor, classes: Classes) -> Tensor:
        """The image (3, H, W) in uint8 with masks, boxes, names and scores."""
        font = max(_SMALLEST_FONT, round(max(image.shape[1:]) / _SIDE_PER_FONT))
        line = round(font / _FONT_PER_LINE)
        if self.masks is not None:
            image = self._with_masks(image, classes, line)
        if not len(self):
            return image
        colours = [classes.colour(label) for label in self.labels.tolist()]
        corners = torch.cat([self.boxes[:, :2], torch.maximum(self.boxes[:, :2], self.boxes[:, 2:])], dim=1)
        return self._with_names(draw_bounding_boxes(image, corners, colors=colours, width=line), classes, font)

    def legend(self) -> list[int]:
        """The labels that a legend has to explain: none, as the names stand beside the instances."""
        return []

    def _with_masks(self, image: Tensor, classes: Classes, line: int) -> Tensor:
        """Where masks overlap the smaller one is on top, and the outlines of all are seen."""
        inside = torch.full(image.shape[1:], NOTHING)
        outline = inside.clone()
        for index in self.masks.sum(dim=(1, 2)).argsort(descending=True).tolist():
            mask, label = self.masks[index], self.labels[index].item()
            inside[mask] = label
            outline[mask & ~_shrunk(mask, line)] = label
        return _with_labels(_with_labels(image, inside, classes, _ALPHA), outline, classes, 1.0)

    def _with_names(self, image: Tensor, classes: Classes, font: int) -> Tensor:
        picture = to_pil_image(image)
        draw = ImageDraw.Draw(picture)
        letters = ImageFont.truetype(str(_FONT), font)
        taken: list[tuple[float, ...]] = []
        scores = [None] * len(self) if self.scores is None else self.scores.tolist()
        for box, label, score in zip(self.boxes.tolist(), self.labels.tolist(), scores, strict=True):
            text = classes.name(label) + ('' if score is None else f' {score:.2f}')
            size = draw.textbbox((0, 0), text, font=letters)
            place = _free_place(box, size[2] + 4, size[3] + 4, picture.size, taken)
            taken.append(place)
            colour = classes.colour(label)
            draw.rectangle(place, fill=colour)
            draw.text((place[0] + 2, place[1] + 1), text, fill=_readable_on(colour), font=letters)
        return pil_to_tensor(picture)


@dataclass(frozen=True)
class ClassMap:
    """The class of each pixel.

    Args:
        labels: (H, W), whole numbers, NOTHING where there is no class.
    """

    labels: Tensor

    def resized(self, height: int, width: int, factor: float) -> ClassMap:
        """The same for the image resized by ``factor`` to (height, width)."""
        best = torch.zeros(height, width)
        labels = torch.full((height, width), NOTHING)
        for label in self.labels.unique().tolist():
            share = _smooth(self.labels == label, height, width)
            labels[share > best] = label
            best = torch.maximum(best, share)
        return ClassMap(labels)

    def painted(self, image: Tensor, classes: Classes) -> Tensor:
        """The image (3, H, W) in uint8 under the colours of its pixels' classes."""
        return _with_labels(image, self.labels, classes, _ALPHA)

    def legend(self) -> list[int]:
        """The labels that a legend has to explain."""
        return sorted(self.shares())

    def shares(self) -> dict[int, float]:
        """The share of the pixels that each class has, the largest first."""
        labels, counts = self.labels[self.labels != NOTHING].unique(return_counts=True)
        order = counts.argsort(descending=True)
        return dict(zip(labels[order].tolist(), (counts[order] / self.labels.numel()).tolist(), strict=True))


Seen = Instances | ClassMap


def enlarged(image: Tensor, seen: Seen, factor: float) -> tuple[Tensor, Seen]:
    """An image (3, H, W) in uint8 and what is seen in it, resized by a factor."""
    if factor == 1:
        return image, seen
    height, width = (max(1, round(factor * side)) for side in image.shape[1:])
    return resize(image, [height, width], antialias=True), seen.resized(height, width, factor)


def _stacked(masks: list[Tensor], height: int, width: int) -> Tensor:
    return torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool)


def _smooth(mask: Tensor, height: int, width: int) -> Tensor:
    """The share of a mask in each pixel of another size; its half is an outline without steps."""
    return resize(mask[None].float(), [height, width], antialias=True)[0]


def _shrunk(mask: Tensor, pixels: int) -> Tensor:
    """A mask without so many pixels along its outline."""
    outside = F.max_pool2d((~mask)[None].float(), 2 * pixels + 1, stride=1, padding=pixels)
    return outside[0] == 0


def _with_labels(image: Tensor, labels: Tensor, classes: Classes, alpha: float) -> Tensor:
    there = [label for label in labels.unique().tolist() if label != NOTHING]
    if not there:
        return image
    masks = torch.stack([labels == label for label in there])
    return draw_segmentation_masks(image, masks, alpha=alpha, colors=[classes.colour(label) for label in there])


def _readable_on(colour: Colour) -> str:
    red, green, blue = colour
    return 'black' if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else 'white'


def _free_place(
    box: list[float], width: int, height: int, picture: tuple[int, int], taken: list[tuple[float, ...]]
) -> tuple[float, ...]:
    """Left, top, right and bottom for the name of a box: over it or where else no other name stands, in the picture."""
    left, top, right, bottom = box
    corners = [(left, top - height), (left, top), (left, bottom), (left, bottom - height), (right - width, top)]
    places = []
    for corner in corners:
        x = min(max(0, corner[0]), picture[0] - width)
        y = min(max(0, corner[1]), picture[1] - height)
        places.append((x, y, x + width - 1, y + height - 1))
    return next((place for place in places if not any(_meet(place, other) for other in taken)), places[0])


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
