"""Configs: found by path or by ``LIBRARY::NAME``, read, and asked for their library; with words for what cannot be."""

import os.path as osp
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..environment import how_to_install
from ..errors import UsageError

CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')
_MOST_NAMED = 3  # configs that a wrong name may mean
LIBRARIES = ('mmdet', 'mmseg')  # whose detectors and segmenters have backbones of this package


def find_config(name: str) -> str:
    """The file of a config.

    Args:
        name: Its path; or ``LIBRARY::NAME`` for one that comes with an installed library, such as
            ``ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py``.

    Raises:
        UsageError: There is no such library, or it has no such config.
    """
    library, mark, inside = name.partition('::')
    if not mark:
        return name
    folder = _configs_of(library)
    if folder is None:
        raise UsageError(f'{name}: {library or "what stands before ::"} is not installed, so it has no configs here.')
    if (folder / inside).is_file():
        return str(folder / inside)
    near = get_close_matches(inside, [path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*.py'))], 1)
    advice = f'Perhaps {library}::{near[0]}' if near else f'Its configs lie in {folder}.'
    raise UsageError(f'{name}: {library} has no config {inside or "without a name"}. {advice}')


def _configs_of(library: str) -> Path | None:
    """The folder of the configs that an installed library brings."""
    spec = find_spec(library) if library.isidentifier() else None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / '.mim' / 'configs'


def _nearest(path: str) -> list[str]:
    """The configs that a path of none may mean, as they are given to a command; those with its own name alone, if any.

    They are looked for in its folder, in the folders beside and in that one, and among those of this package.
    """
    wanted = Path(path)
    folders = [wanted.parent, *wanted.parent.glob('*/')]
    if wanted.parent.name:  # what is beside the folder that one works in need not be configs
        folders += wanted.parent.parent.glob('*/')
    found: dict[Path, str] = {}  # by the file, as the same one may stand in several of these places
    for folder in folders:
        for file in sorted(folder.glob('*.py')):
            found.setdefault(file.resolve(), str(file))
    own = _configs_of('ss_backbones')
    for file in sorted(own.rglob('*.py')) if own else ():
        found.setdefault(file.resolve(), f'ss_backbones::{file.relative_to(own).as_posix()}')
    name = wanted.name.removesuffix('.py')
    files = [file for file in found if file.stem == name]
    files.sort(key=lambda file: file.parent.name != wanted.parent.name)
    if not files:
        near = get_close_matches(name, {file.stem for file in found}, _MOST_NAMED)
        files = [file for word in near for file in found if file.stem == word]
    return [found[file] for file in files[:_MOST_NAMED]]


def read_config(name: str, options: Mapping[str, Any], custom_imports: bool = False) -> Config:
    """A config with the options of --cfg-options.

    Args:
        name: As for :func:`find_config`.
        options: What --cfg-options holds.
        custom_imports: Import what it wants imported, for a command that builds its parts by itself.

    Raises:
        UsageError: There is no such file, it is no config or a broken one, or the options do not fit it.
    """
    path = find_config(name)
    if not osp.exists(path):
        near = _nearest(path)
        raise UsageError(
            f'there is no config file {path}. '
            + (
                f'Perhaps {" or ".join(near)}'
                if near
                else 'Configs are found in the folder configs/, and those of an installed library by LIBRARY::NAME, '
                'such as ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
            )
        )
    if osp.isdir(path) or not path.endswith(CONFIG_SUFFIXES):
        raise UsageError(f'{path} is not a config, expected a Python file such as those in the folder configs/.')
    try:
        config = Config.fromfile(path, import_custom_modules=custom_imports)
    except ModuleNotFoundError as error:  # a base such as mmdet::... without mmdet
        raise UsageError(f'{path} needs a package that is missing: {error}. {how_to_install()}') from error
    except Exception as error:  # a config is a program: it may fail in any way, and the user has to know where
        raise UsageError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError) as error:
        raise UsageError(f'--cfg-options does not fit {path}: {error.args[0]}') from error
    return config


def library_of(config: Mapping[str, Any] | Config) -> str | None:
    """The package whose registry knows a config's types: its default_scope, or where the class of its model is from.

    A pure-Python config has no default_scope, as its types are classes, or their full names once it was written. What
    comes from another library's config has that library as its _scope_.
    """
    model = config.get('model') or {}
    if scope := config.get('default_scope') or model.get('_scope_'):
        return scope
    kind = model.get('type')
    where, dot, _ = (kind if isinstance(kind, str) else f'{getattr(kind, "__module__", "")}.').partition('.')
    return where if dot and where else None


def require_library(name: str, config: Mapping[str, Any] | Config) -> str:
    """:func:`library_of`, one of LIBRARIES.

    Args:
        name: Of the config, for the error.
        config: What it holds.

    Raises:
        UsageError: It is for a classifier, for another library, or does not say for which.
    """
    library = library_of(config)
    if library in LIBRARIES:
        return library
    kind, scope = str((config.get('model') or {}).get('type')), config.get('default_scope')
    if kind.endswith('ImageClassifier'):
        raise UsageError(
            f'{name} is for a classifier ({kind}): take ss-backbones pretrain to train it, and ss-backbones evaluate '
            'to test it.'
        )
    given = f'sets default_scope = {scope!r}' if scope else f'sets no default_scope, and its model is {kind}'
    raise UsageError(
        f'{name} {given}; expected {" or ".join(map(repr, LIBRARIES))}. It says what library the config is for: '
        'inherit from a config of that library, or set default_scope.'
    )
