"""Looks for the files that a config's datasets read before anything is built: a missing one costs no traceback."""

import json
import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.utils import scandir

from ..data_faults import is_local
from ..training.data_check import dataset_configs

SMALL_JSON = 2**20  # bytes; a larger COCO file is sure to list images, and parsing it twice would take seconds
_LOOPS = {'train': ('train', 'val'), 'test': ('test',)}  # whose data a tool reads
# mmseg takes the files whose names end so, unless the config says otherwise
_SUFFIXES = {'img_path': ('img_suffix', '.jpg'), 'seg_map_path': ('seg_map_suffix', '.png')}
_KINDS = {'ann_file': 'FILE', 'img_suffix': '.SUFFIX', 'seg_map_suffix': '.SUFFIX'}  # of values, for the advice


@dataclass(frozen=True)
class Missing:
    """A setting that leads to no usable data: its key in the config, the path it leads to, and what is wrong there."""

    setting: str
    path: str
    problem: str


def find_missing(config: Mapping[str, Any], tool: str) -> list[Missing]:
    """What is missing of the data that ``tool`` ('train' or 'test') would read.

    Datasets inside wrappers are looked at too; whatever is not on a local disk is not. Relative paths start at the
    working directory, as they do in mmengine.
    """
    found = []
    for loop in _LOOPS[tool]:
        loader, evaluator = config.get(f'{loop}_dataloader'), config.get(f'{loop}_evaluator')
        if config.get(f'{loop}_cfg') and isinstance(loader, Mapping):
            # a test set may come without its annotations, to be handed in elsewhere
            for key, part in dataset_configs(loader.get('dataset'), f'{loop}_dataloader.dataset'):
                found += _missing_of(part, key, annotated=tool == 'train')
            for key, part in dataset_configs(evaluator, f'{loop}_evaluator'):
                found += _missing_of(part, key, annotated=False)
    return found


def describe_missing(missing: Sequence[Missing], config_file: str) -> str:
    """The message for the user: every missing path, the setting it comes from, and how to set it."""
    width = max(len(item.setting) for item in missing)
    # setting a wrong root right may well be enough for what lies below it
    roots = tuple(item.setting.removesuffix('data_root') for item in missing if item.setting.endswith('.data_root'))
    keys = [
        key for key in (item.setting for item in missing) if key.endswith('.data_root') or not key.startswith(roots)
    ]
    options = ' '.join(f'{key}={_KINDS.get(key.rpartition(".")[2], "DIR")}' for key in keys)
    text = [
        f'the data is not where {config_file} says:',
        *(f'  {item.setting:<{width}}  {item.path}  {item.problem}' for item in missing),
        f'Relative paths start at the working directory, {Path.cwd()}.',
        f'Say where the data is: --cfg-options {options}',
    ]
    if any(item.path.startswith('data/coco') for item in missing):
        text.append('Or link COCO to where the config looks: mkdir -p data && ln -s /path/to/coco data/coco')
    return '\n'.join(text)


def _missing_of(part: Mapping[str, Any], key: str, annotated: bool) -> list[Missing]:
    if not is_local(part.get('backend_args')):
        return []
    root, annotations, folders = part.get('data_root') or '', part.get('ann_file'), part.get('data_prefix') or {}
    kind = str(part.get('type')).rpartition('.')[2]
    lists = ('images', 'annotations')[: 1 + annotated] if kind == 'CocoDataset' else ()

    def missing(name: str, path: object, problem_of: Callable[[Path], str | None]) -> list[Missing]:
        full = osp.join(root, path) if isinstance(path, str) else '://'
        problem = problem_of(Path(full)) if '://' not in full else None
        return [Missing(f'{key}.{name}', full, problem)] if problem else []

    # an ann_file '' is mmseg's "every image of the folder", a folder '' is the data root itself
    found = missing('data_root', '', _folder_problem) if root else []
    found += missing('ann_file', annotations or None, partial(_file_problem, lists=lists))
    for name, folder in folders.items():
        found += missing(f'data_prefix.{name}', folder or None, _folder_problem)
    if not found and not annotations and kind in ('BaseSegDataset', 'ADE20KDataset'):
        for prefix, (name, suffix) in _SUFFIXES.items():
            found += missing(name, folders.get(prefix), partial(_suffix_problem, suffix=part.get(name, suffix)))
    return found


def _folder_problem(path: Path) -> str | None:
    if not path.is_dir():
        return 'is not a folder' if path.exists() else 'does not exist'
    return None if any(path.iterdir()) else 'is an empty folder'


def _suffix_problem(folder: Path, suffix: str) -> str | None:
    there = next(scandir(folder, suffix, recursive=True), None)
    others = sorted({path.suffix for path in folder.rglob('*') if path.is_file()}) if there is None else []
    return f'has no file that ends with {suffix}; there are {", ".join(others)}' if others else None


def _file_problem(path: Path, lists: Sequence[str]) -> str | None:
    """``lists`` names what a COCO file must have; of other formats, some are whole folders of annotations."""
    if path.is_dir():
        return 'is a folder, not an annotation file' if lists else _folder_problem(path)
    if not path.exists():
        return 'does not exist'
    if not lists or not 0 < path.stat().st_size <= SMALL_JSON:
        return None if path.stat().st_size else 'is an empty file'
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:  # broken JSON, or no text at all
        return 'is not a JSON file'
    lacking = next((name for name in lists if not isinstance(content, dict) or not content.get(name)), None)
    return {None: None, 'images': 'lists no images'}.get(lacking, f'holds no {lacking}')
