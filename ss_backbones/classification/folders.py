"""Looks at folders of classes before they are read: what is wrong there shifts classes or costs a night in silence."""

from os import scandir, walk
from pathlib import Path

from timm.data import get_img_extensions

from .errors import DataError

# As in timm, which would take the whole folder for the split if it finds none of them.
_SAME_SPLIT = (('train', 'training'), ('val', 'valid', 'validation', 'eval', 'evaluation'))


def find_split(data_root: str, split: str, advice: str = '') -> str:
    """The folder or .tar of a split: DATA_ROOT/val or DATA_ROOT/val.tar, or under another usual name of it.

    Args:
        data_root: The folder that it is in.
        split: Its name.
        advice: What to do where there is none, at the end of the error.

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
    raise DataError(f'{data_root} has no folder {split}/ and no {split}.tar; there is {there}. {advice}'.rstrip())


def _check_classes(folder: Path) -> None:
    with scandir(folder) as entries:
        there = list(entries)
    classes = sorted(entry.name for entry in there if entry.is_dir())
    if not classes:
        raise DataError(f'{folder} has no class folders; expected one folder of images for each class.')
    hidden = [name for name in classes if name.startswith('.') and (_has_image(folder / name) or _below(folder / name))]
    if hidden:
        raise DataError(f'{folder / hidden[0]} holds images and would be taken for a class: remove it.')
    loose = next((entry.name for entry in there if entry.is_file() and _is_image(entry.name)), None)
    if loose:
        raise DataError(f'{folder / loose} lies beside the class folders: move it into one of them, or away.')
    bare = [name for name in classes if not name.startswith('.') and not _has_image(folder / name)]
    nested = next((below for name in bare if (below := _below(folder / name))), None)
    if nested:
        raise DataError(
            f'{nested} holds images below a class folder. Classes are named by the folder that an image lies in, so '
            'subfolders of one name would become one class: put the images straight into their class folders.'
        )
    if bare:
        more = f' and {len(bare) - 3} more' if len(bare) > 3 else ''
        raise DataError(
            f'{folder}: the class folders {", ".join(bare[:3])}{more} hold no image ({", ".join(get_img_extensions())}'
            '). Classes are numbered by the folders with images, so an empty one would shift all after it: fill or '
            'remove it.'
        )


def _is_image(name: str) -> bool:
    return name.lower().endswith(tuple(get_img_extensions()))


def _has_image(folder: Path) -> bool:
    """Whether there is an image right in the folder; stops at the first."""
    with scandir(folder) as entries:
        return any(_is_image(entry.name) for entry in entries)


def _below(folder: Path) -> Path | None:
    """A folder with images somewhere below."""
    for path, _, names in walk(folder):
        if path != str(folder) and any(map(_is_image, names)):
            return Path(path)
    return None
