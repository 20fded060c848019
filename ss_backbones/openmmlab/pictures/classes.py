"""The classes of a picture: their names, and a colour each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

Colour = tuple[int, int, int]  # red, green, blue

_MOST_COLOURS = 256
_LEVELS = 12  # of red, green and blue, among which distinct colours are looked for


@dataclass(frozen=True)
class Classes:
    """Names and colours by label.

    Args:
        names: The names; a label beyond them is its number.
        palette: The colours; a label beyond them gets one that differs from those of its neighbours.
    """

    names: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()

    @classmethod
    def of(cls, metainfo: Mapping[str, object]) -> Classes:
        """Those of a data set of mmdet or mmseg, whose palette may be missing, or a word such as 'random'."""
        names, palette = (metainfo.get(key) for key in ('classes', 'palette'))
        names = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
        if not isinstance(palette, list | tuple) or len(palette) < len(names):
            palette = ()
        return cls(names, tuple(tuple(map(int, colour)) for colour in palette))

    def name(self, label: int) -> str:
        return self.names[label] if label < len(self.names) else str(label)

    def colour(self, label: int) -> Colour:
        return self.palette[label] if label < len(self.palette) else distinct_colours()[label % _MOST_COLOURS]


@cache
def distinct_colours() -> tuple[Colour, ...]:
    """Colours, each of which is as far as can be, to the eye, from black, white and all before it."""
    level = np.linspace(0, 1, _LEVELS, dtype=np.float32)
    candidates = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(1, -1, 3)
    lab = cv2.cvtColor(candidates, cv2.COLOR_RGB2LAB)[0]  # distances in it are those that the eye sees

    def distance(to: np.ndarray) -> np.ndarray:
        return np.linalg.norm(lab - to, axis=1)

    grey = np.stack([np.linspace(0, 100, 9), *np.zeros((2, 9))], axis=1)
    nearest = np.min([distance(shade) for shade in grey], axis=0)
    chosen = []
    for _ in range(_MOST_COLOURS):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance(lab[chosen[-1]]))
    return tuple(tuple(int(value) for value in np.rint(255 * candidates[0, i])) for i in chosen)
