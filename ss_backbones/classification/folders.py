"""Looks at folders of classes before they are read: what is wrong there shifts classes or costs a night in silence."""

from os import scandir
from pathlib import Path

from timm.data import get_img_extensions

from .errors import DataError

# As in timm, which would take the whole folder for the split if it finds none of them.
_SAME_SPLIT = (('train', 'training'), ('val', 'valid', 'validation', 'eval', 'evaluation'))


def find_split(data_root: str, split: str) -> str:
    """The folder or .tar of a split: DATA_ROOT/val or DATA_ROOT/val.tar, or under another usual name of it.

    Raises:
        DataError: There is none, or it has no class folders, or one of them has no image.
    """
    root = Path(data_root)
    if not data_root or not root.is_dir():
        given = f'{data_root} is no folder' if data_root else 'no data folder is given'
        raise DataError(f'{given}. Give one that holds train/ and val/ with a folder for each class: --data-root DIR')
    names = next((names for names in _SAME_SPLIT if split in names), ())
    for name in (split, *names):
        if (root / name).is_dir():
            _check_classes(root / name)
            return str(root / name)
        if (root / f'{name}.tar').is_file():
            return str(root / f'{name}.tar')
    there = ', '.join(sorted(f'{p.name}/' if p.is_dir() else p.name for p in root.iterdir())[:8]) or 'nothing'
    advice = ''
    if split in _SAME_SPLIT[1]:
        advice = (
            ' To train without validation: --no-validate. To validate on another split: --cfg-options '
            'val_dataloader.dataset.split=NAME'
        )
    raise DataError(f'{data_root} has no folder {split}/ and no {split}.tar; there is {there}.{advice}')


def _check_classes(folder: Path) -> None:
    with scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise DataError(f'{folder} has no class folders; expected one folder of images for each class.')
    extensions = get_img_extensions()
    empty = [name for name in classes if not _has_image(folder / name, extensions)]
    if empty:
        more = f' and {len(empty) - 3} more' if len(empty) > 3 else ''
        raise DataError(
            f'{folder}: the class folders {", ".join(empty[:3])}{more} hold no image ({", ".join(extensions)}). '
            'Classes are numbered by the folders with images, so an empty one would shift all after it: fill or '
            'remove it.'
        )


def _has_image(folder: Path, extensions: tuple[str, ...]) -> bool:
    """Whether there is an image in the folder or below; stops at the first."""
    with scandir(folder) as entries:
        below = []
        for entry in entries:
            if entry.is_dir():
                below.append(entry.path)
            elif entry.name.lower().endswith(tuple(extensions)):
                return True
    return any(_has_image(Path(path), extensions) for path in below)
