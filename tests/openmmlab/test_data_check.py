"""Data that is not where the config says is reported before anything is built, path by path and with its setting."""

import json
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

from ss_backbones.openmmlab.data_check import Missing, describe_missing, find_missing  # noqa: E402

COCO = {'images': [{'id': 1}], 'annotations': [{'id': 1}], 'categories': [{'id': 1}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A complete data root."""
    for folder in ('train', 'val', 'maps'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / '1.png').touch()
    for name in ('train.json', 'val.json'):
        (tmp_path / name).write_text(json.dumps(COCO))
    return tmp_path


def coco(root: Path, part: str) -> dict:
    return {
        'type': 'CocoDataset',
        'data_root': f'{root}/',
        'ann_file': f'{part}.json',
        'data_prefix': {'img': f'{part}/'},
    }


def make_config(root: Path) -> dict:
    val = {'dataset': coco(root, 'val')}
    evaluator = {'type': 'CocoMetric', 'ann_file': f'{root}/val.json'}
    return {
        'train_cfg': {'max_epochs': 1},
        'val_cfg': {'type': 'ValLoop'},
        'test_cfg': {'type': 'TestLoop'},
        'train_dataloader': {'dataset': coco(root, 'train')},
        'val_dataloader': val,
        'test_dataloader': val,
        'val_evaluator': evaluator,
        'test_evaluator': evaluator,
    }


def found(config: dict, tool: str = 'train') -> dict[str, str]:
    return {item.setting: item.problem for item in find_missing(config, tool)}


def test_complete_data_is_silent(root: Path):
    assert found(make_config(root)) == {}
    assert found(make_config(root), 'test') == {}


def test_missing_root_names_every_path_under_it(root: Path):
    config = make_config(root)
    config['train_dataloader']['dataset']['data_root'] = 'nowhere/'
    assert find_missing(config, 'train') == [
        Missing('train_dataloader.dataset.data_root', 'nowhere/', 'does not exist'),
        Missing('train_dataloader.dataset.ann_file', 'nowhere/train.json', 'does not exist'),
        Missing('train_dataloader.dataset.data_prefix.img', 'nowhere/train/', 'does not exist'),
    ]


def test_root_without_annotations(root: Path):
    (root / 'train.json').unlink()
    assert find_missing(make_config(root), 'train') == [
        Missing('train_dataloader.dataset.ann_file', f'{root}/train.json', 'does not exist')
    ]


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ('', 'is an empty file'),
        ('{"images": [', 'is not a JSON file'),
        ('[]', 'lists no images'),
        (json.dumps({**COCO, 'images': []}), 'lists no images'),
        (json.dumps({**COCO, 'annotations': []}), 'holds no annotations'),
    ],
)
def test_annotation_file_without_annotations(root: Path, content: str, problem: str):
    (root / 'train.json').write_text(content)
    assert found(make_config(root)) == {'train_dataloader.dataset.ann_file': problem}


def test_annotation_file_that_is_no_text(root: Path):
    (root / 'train.json').write_bytes(b'\x89PNG\xff\xfe')
    assert found(make_config(root)) == {'train_dataloader.dataset.ann_file': 'is not a JSON file'}


def test_annotation_file_that_is_a_folder(root: Path):
    (root / 'train.json').unlink()
    (root / 'train.json').mkdir()
    assert found(make_config(root)) == {'train_dataloader.dataset.ann_file': 'is a folder, not an annotation file'}


def test_large_annotation_files_are_not_parsed(root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / 'train.json').write_text(' ' * 200)
    monkeypatch.setattr('ss_backbones.openmmlab.data_check.SMALL_JSON', 100)
    assert found(make_config(root)) == {}


def test_image_folder(root: Path):
    (root / 'train' / '1.png').unlink()
    assert found(make_config(root)) == {'train_dataloader.dataset.data_prefix.img': 'is an empty folder'}
    (root / 'train').rmdir()
    assert found(make_config(root)) == {'train_dataloader.dataset.data_prefix.img': 'does not exist'}
    (root / 'train').touch()
    assert found(make_config(root)) == {'train_dataloader.dataset.data_prefix.img': 'is not a folder'}


def test_train_looks_at_validation_only_where_there_is_one(root: Path):
    config = make_config(root)
    (root / 'val.json').unlink()
    expected = {'val_dataloader.dataset.ann_file': 'does not exist', 'val_evaluator.ann_file': 'does not exist'}
    assert found(config) == expected
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        config[key] = None
        assert found(config) == {}


def test_test_looks_at_test_alone(root: Path):
    config = make_config(root)
    (root / 'train.json').unlink()
    assert found(config, 'test') == {}
    (root / 'val.json').write_text(json.dumps({**COCO, 'annotations': []}))
    assert found(config, 'test') == {}, 'a test set may come without annotations'
    (root / 'val.json').unlink()
    assert set(found(config, 'test')) == {'test_dataloader.dataset.ann_file', 'test_evaluator.ann_file'}


def test_wrapped_datasets(root: Path):
    config = make_config(root)
    repeated = {'type': 'RepeatDataset', 'times': 2, 'dataset': {**coco(root, 'train'), 'ann_file': 'a.json'}}
    config['train_dataloader']['dataset'] = {'type': 'ConcatDataset', 'datasets': [coco(root, 'train'), repeated]}
    assert found(config) == {'train_dataloader.dataset.datasets.1.dataset.ann_file': 'does not exist'}


def test_evaluators_in_a_list(root: Path):
    config = make_config(root)
    config['val_evaluator'] = [{'type': 'Other'}, {'type': 'CocoMetric', 'ann_file': f'{root}/a.json'}]
    assert found(config) == {'val_evaluator.1.ann_file': 'does not exist'}


@pytest.mark.parametrize('data_root', ['s3://bucket/coco/', 'http://host/coco/', 'cluster:s3://bucket/coco/'])
def test_remote_paths_are_left_alone(root: Path, data_root: str):
    config = make_config(root)
    config['train_dataloader']['dataset']['data_root'] = data_root
    config['val_evaluator']['ann_file'] = data_root + 'val.json'
    assert found(config) == {}


def test_remote_backends_are_left_alone(root: Path):
    config = make_config(root)
    dataset = config['train_dataloader']['dataset']
    dataset.update(data_root='nowhere/', backend_args={'backend': 'petrel'})
    assert found(config) == {}
    dataset['backend_args'] = {'backend': 'local'}
    assert len(found(config)) == 3


def test_segmentation_folders(root: Path):
    config = make_config(root)
    prefix = {'img_path': 'train', 'seg_map_path': 'maps'}
    dataset = {'type': 'ADE20KDataset', 'data_root': str(root), 'data_prefix': prefix, 'img_suffix': '.png'}
    config['train_dataloader']['dataset'] = dataset
    assert found(config) == {}
    prefix.update(img_path='a', seg_map_path='b')
    assert found(config) == {
        'train_dataloader.dataset.data_prefix.img_path': 'does not exist',
        'train_dataloader.dataset.data_prefix.seg_map_path': 'does not exist',
    }


def test_files_of_segmentation_that_end_otherwise(root: Path, monkeypatch: pytest.MonkeyPatch):
    config = make_config(root)
    prefix = {'img_path': 'train', 'seg_map_path': 'maps'}
    dataset = {'type': 'BaseSegDataset', 'data_root': str(root), 'data_prefix': prefix, 'seg_map_suffix': '_L.png'}
    config['train_dataloader']['dataset'] = dataset
    (root / 'train' / 'more').mkdir()
    (root / 'train' / 'more' / '2.tif').touch()
    missing = find_missing(config, 'train')
    assert {item.setting: (item.path, item.problem) for item in missing} == {
        'train_dataloader.dataset.img_suffix': (
            f'{root}/train',
            'has no file that ends with .jpg; there are .png, .tif',
        ),
        'train_dataloader.dataset.seg_map_suffix': (
            f'{root}/maps',
            'has no file that ends with _L.png; there are .png',
        ),
    }
    options = 'train_dataloader.dataset.img_suffix=.SUFFIX train_dataloader.dataset.seg_map_suffix=.SUFFIX'
    assert f'--cfg-options {options}' in describe_missing(missing, 'a.py')
    dataset.update(img_suffix='.tif', seg_map_suffix='.png')  # in a folder below
    assert found(config) == {}
    dataset.update(img_suffix='.gif', type='SomebodysDataset')  # whose suffixes nobody knows
    assert found(config) == {}


def test_absolute_paths_need_no_root(root: Path):
    config = make_config(root)
    config['train_dataloader']['dataset'] = {
        'type': 'CocoDataset',
        'ann_file': f'{root}/train.json',
        'data_prefix': {'img': f'{root}/a'},
    }
    assert found(config) == {'train_dataloader.dataset.data_prefix.img': 'does not exist'}


def test_message_says_what_to_set(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    config = make_config(root)
    config['train_dataloader']['dataset']['data_root'] = 'data/coco/'
    config['val_evaluator']['ann_file'] = 'data/coco/val.json'
    text = describe_missing(find_missing(config, 'train'), 'some.py')
    for part in ('some.py', 'data/coco/train.json', 'data/coco/train/', 'data/coco/val.json', str(root), 'ln -s'):
        assert part in text
    assert text.count('does not exist') == 4
    options = next(line for line in text.splitlines() if '--cfg-options' in line).partition('--cfg-options ')[2]
    assert options == 'train_dataloader.dataset.data_root=DIR val_evaluator.ann_file=FILE'
