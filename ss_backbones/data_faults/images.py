"""What an image file says of itself, without decoding it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError

from PIL import Image

from .faults import Fault

# what Pillow raises for a file that it cannot read
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, StructError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # of EXIF; from 5 on the image lies on its side
_AGAIN = 'Get it again from where it is from, or remove it and its annotations.'
_ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}  # of a file that is whole, but for what cameras append
_TAIL = 64  # bytes


@dataclass(frozen=True)
class Header:
    """What stands at the start of an image file.

    Args:
        size: Width and height in pixels, as they lie in the file.
        on_its_side: Whether it is to be turned by 90 degrees, according to its EXIF data.
        mode: Pillow's name of the kind of pixels, such as 'RGB', 'L', 'I;16'.
    """

    size: tuple[int, int]
    on_its_side: bool
    mode: str


def header_of(path: str) -> Header | Fault:
    """Read it, or say what is wrong with the file: it is missing, empty, no image, or cut off."""
    try:
        if not os.path.getsize(path):
            return Fault(path, 'is an empty file (0 bytes)', _AGAIN)
        with Image.open(path) as image:
            turned = image.format == 'JPEG' and image.getexif().get(_ORIENTATION, 1) >= 5
            header = Header(image.size, turned, image.mode)
            kind = image.format
    except FileNotFoundError:
        return Fault(path, 'does not exist', 'Put it there, or remove it from the data set.')
    except UNREADABLE as error:
        return _read_otherwise(path) or Fault(path, f'cannot be read as an image ({_first_line(error)})', _AGAIN)
    return Fault(path, 'is cut off', _AGAIN) if _is_cut(path, kind) else header


def is_whole(path: str) -> bool:
    """Whether a file ends as its format wants; OpenCV fills what is missing with grey and says nothing."""
    with open(path, 'rb') as file:
        start = file.read(8)
    kind = {b'\xff\xd8': 'JPEG', b'\x89P': 'PNG'}.get(start[:2])
    return not _is_cut(path, kind)


def _is_cut(path: str, kind: str | None) -> bool:
    if kind not in _ENDS:
        return False
    with open(path, 'rb') as file:
        file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        if _ENDS[kind] in file.read():
            return False
    with suppress(*UNREADABLE), Image.open(path) as image:  # the end alone may be missing, or have more after it
        image.load()
        return False
    return True


def _read_otherwise(path: str) -> Header | None:
    """OpenCV reads a few formats that Pillow does not."""
    try:
        import cv2
    except ImportError:
        return None
    try:
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    except cv2.error:  # such as more pixels than it takes
        return None
    return None if image is None else Header((image.shape[1], image.shape[0]), False, Path(path).suffix)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
