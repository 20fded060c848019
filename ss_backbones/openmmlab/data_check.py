"""Looks for the files that a config's datasets read before anything is built: a missing one costs no traceback."""

import json
import os.path as osp
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import getcwd, scandir, walk
from typing import Any

LOCAL_BACKENDS = ('local', 'disk')
SUFFIXES_KNOWN = ('BaseSegDataset', 'ADE20KDataset')  # of mmseg, with .jpg and .png unless the config says otherwise
SMALL_JSON = 2**20  # bytes; a larger COCO file is sure to list images, and parsing it twice would take seconds

# what each tool reads: (the loop's config, its dataloader, its evaluator)
READ_BY = {
    'train': (('train_cfg', 'train_dataloader', None), ('val_cfg', 'val_dataloader', 'val_evaluator')),
    'test': (('test_cfg', 'test_dataloader', 'test_evaluator'),),
}


@dataclass(frozen=True)
class Missing:
    """A setting that leads to no usable data: its key in the config, the path it leads to, and what is wrong there."""

    setting: str
    path: str
    problem: str


def find_missing(config: Mapping[str, Any], tool: str) -> list[Missing]:
    """Returns what is missing of the data that ``tool`` ('train' or 'test') would read under ``config``.

    Datasets inside wrappers are looked at too; whatever is not on a local disk is not. Relative paths start at the
    working directory, as they do in mmengine.
    """
    found: list[Missing] = []
    for loop, loader_key, evaluator_key in READ_BY[tool]:
        loader = config.get(loader_key)
        if not config.get(loop) or not isinstance(loader, Mapping):
            continue
        for setting, dataset in _leaves(loader.get('dataset'), f'{loader_key}.dataset'):
            # a test set may come without its annotations, to be handed in elsewhere
            found += _missing_of_dataset(setting, dataset, annotated=tool == 'train')
        if evaluator_key:
            found += _missing_of_evaluator(evaluator_key, config.get(evaluator_key))
    return found


def describe_missing(missing: Sequence[Missing], config_file: str) -> str:
    """Returns the message for the user: every missing path, the setting it comes from, and how to set it."""
    width = max(len(item.setting) for item in missing)
    lines = [f'  {item.setting:<{width}}  {item.path}  {item.problem}' for item in missing]
    # setting a wrong root right may well be enough for what lies below it
    roots = tuple(item.setting.removesuffix('data_root') for item in missing if item.setting.endswith('.data_root'))
    keys = [
        item.setting for item in missing if item.setting.endswith('.data_root') or not item.setting.startswith(roots)
    ]
    kinds = {'ann_file': 'FILE', 'img_suffix': '.SUFFIX', 'seg_map_suffix': '.SUFFIX'}
    options = ' '.join(f'{key}={kinds.get(key.rsplit(".", 1)[-1], "DIR")}' for key in keys)
    text = [
        f'the data is not where {config_file} says:',
        *lines,
        f'Relative paths start at the working directory, {getcwd()}.',
        f'Say where the data is: --cfg-options {options}',
    ]
    if any(item.path.startswith('data/coco') for item in missing):
        text.append('Or link COCO to where the config looks: mkdir -p data && ln -s /path/to/coco data/coco')
    return '\n'.join(text)


def _leaves(dataset: object, setting: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The datasets that read files, out of wrappers such as RepeatDataset and ConcatDataset."""
    if isinstance(dataset, (list, tuple)):
        for index, inner in enumerate(dataset):
            yield from _leaves(inner, f'{setting}.{index}')
    elif isinstance(dataset, Mapping):
        wrapped = [key for key in ('dataset', 'datasets') if key in dataset]
        for key in wrapped:
            yield from _leaves(dataset[key], f'{setting}.{key}')
        if not wrapped:
            yield setting, dataset


def _missing_of_dataset(setting: str, dataset: Mapping[str, Any], annotated: bool) -> list[Missing]:
    root = dataset.get('data_root') or ''
    is_coco = str(dataset.get('type')).split('.')[-1] == 'CocoDataset'
    annotation_problem = (_coco_problem if annotated else _image_list_problem) if is_coco else _file_problem

    # an ann_file '' is mmseg's "every image of the folder", a prefix '' is the data root itself
    reads: list[tuple[str, Any, Callable[[str], str | None]]] = [('data_root', root, _folder_problem)]
    if dataset.get('ann_file'):
        reads.append(('ann_file', dataset['ann_file'], annotation_problem))
    for key, prefix in (dataset.get('data_prefix') or {}).items():
        reads.append((f'data_prefix.{key}', prefix, _folder_problem))

    found = []
    for key, path, problem_of in reads:
        if path and isinstance(path, str):
            full = path if key == 'data_root' else osp.join(root, path)
            found += _missing(f'{setting}.{key}', full, problem_of, dataset)
    return found or _missing_by_suffix(setting, dataset, root)


def _missing_by_suffix(setting: str, dataset: Mapping[str, Any], root: str) -> list[Missing]:
    """mmseg takes the files whose names end as expected, and with the wrong end there are none."""
    found: list[Missing] = []
    if str(dataset.get('type')).split('.')[-1] not in SUFFIXES_KNOWN or dataset.get('ann_file'):
        return found
    for prefix, key, default in (('img_path', 'img_suffix', '.jpg'), ('seg_map_path', 'seg_map_suffix', '.png')):
        folder = (dataset.get('data_prefix') or {}).get(prefix)
        if isinstance(folder, str):
            problem_of = partial(_suffix_problem, suffix=dataset.get(key, default))
            found += _missing(f'{setting}.{key}', osp.join(root, folder), problem_of, dataset)
    return found


def _missing_of_evaluator(setting: str, evaluator: object) -> list[Missing]:
    """Metrics such as CocoMetric read an annotation file of their own, with no data root before it."""
    if isinstance(evaluator, (list, tuple)):
        return [item for i, metric in enumerate(evaluator) for item in _missing_of_evaluator(f'{setting}.{i}', metric)]
    path = evaluator.get('ann_file') if isinstance(evaluator, Mapping) else None
    return _missing(f'{setting}.ann_file', path, _file_problem, evaluator) if isinstance(path, str) and path else []


def _missing(
    setting: str, path: str, problem_of: Callable[[str], str | None], part: Mapping[str, Any]
) -> list[Missing]:
    backend = (part.get('backend_args') or {}).get('backend', 'local')
    problem = problem_of(path) if backend in LOCAL_BACKENDS and '://' not in path else None
    return [Missing(setting, path, problem)] if problem else []


def _folder_problem(path: str) -> str | None:
    path = path.rstrip('/') or '/'  # with a slash at its end a file would not exist
    if not osp.exists(path):
        return 'does not exist'
    if not osp.isdir(path):
        return 'is not a folder'
    with scandir(path) as entries:
        return None if any(True for _ in entries) else 'is an empty folder'


def _suffix_problem(path: str, suffix: str) -> str | None:
    there = set()
    for _, _, names in walk(path):
        for name in names:
            if name.endswith(suffix):
                return None
            there.add(osp.splitext(name)[1])
    return f'has no file that ends with {suffix}; there are {", ".join(sorted(there))}' if there else None


def _file_problem(path: str) -> str | None:
    if osp.isdir(path):  # some datasets read a whole folder of annotations
        return _folder_problem(path)
    if not osp.exists(path):
        return 'does not exist'
    return None if osp.getsize(path) else 'is an empty file'


def _image_list_problem(path: str, also: str | None = None) -> str | None:
    if osp.isdir(path):
        return 'is a folder, not an annotation file'
    problem = _file_problem(path)
    if problem or osp.getsize(path) > SMALL_JSON:
        return problem
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except ValueError:  # broken JSON, or no text at all
        return 'is not a JSON file'
    if not isinstance(content, dict) or not content.get('images'):
        return 'lists no images'
    return f'holds no {also}' if also and not content.get(also) else None


def _coco_problem(path: str) -> str | None:
    return _image_list_problem(path, also='annotations')
