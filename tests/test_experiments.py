"""The experiments that the documentation's figures are from, on a few images."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from tiny_data import write_coco
from tiny_images import write_classes

ROOT = Path(__file__).resolve().parents[1]
NETWORK = ('--networks', 'ss_pvt_v2_b0', '--seeds', '0', '--epochs', '1')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp('cifar'), classes=10, train=26, val=1, side=32)


def run(name: str, *arguments: object, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / 'experiments' / name, *map(str, arguments)],
        cwd=cwd,
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ('name', 'ways', 'expected'),
    [
        ('ramps.py', ('plain', 'paper'), [('plain', '1'), ('paper', '1')]),
        ('inheriting.py', ('inherited',), [('plain', '1'), ('plain', '2'), ('inherited', '0'), ('inherited', '1')]),
    ],
)
def test_an_experiment_goes_on_where_it_was(
    name: str, ways: tuple[str, ...], expected: list, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out.csv'
    for _ in range(2):  # the second time nothing is left to do
        run(name, data, out, *NETWORK, '--ways', *ways, cwd=tmp_path)
        rows = list(csv.DictReader(out.open()))
        assert [(row['way'], row['epoch']) for row in rows] == expected
        assert all(0 <= float(row['top1']) <= 100 for row in rows)
        assert all(0 <= float(row.get('ramp_share', 0)) <= 1 for row in rows)
    run('draw.py', out, tmp_path / 'out.png', cwd=tmp_path)
    with Image.open(tmp_path / 'out.png') as picture:
        assert min(picture.size) > 200


def test_attention_of_every_kind_trains(data: Path, tmp_path: Path) -> None:
    out, ways = tmp_path / 'out.csv', ('deit', 'xcit', 'ufo', 'l2-q', 'l2-kv', 'none', 'softmax')
    run('attention.py', data, out, '--ways', *ways, '--seeds', '0', '--epochs', '1', '--images', '40', cwd=tmp_path)
    rows = {row['way']: row for row in csv.DictReader(out.open())}
    assert tuple(rows) == ways and all(float(row['loss']) < 10 for row in rows.values())
    sizes = [int(row['parameters']) for row in rows.values()]
    assert max(sizes) < 1.25 * min(sizes)


def test_searched_networks_stand_beside_others_of_their_cost(data: Path, tmp_path: Path) -> None:
    out, ways = tmp_path / 'out.csv', ('dense', 'searched-0.6', 'random-0.6-1', 'narrow-0.6')
    run('searching.py', data, out, '--ways', *ways, '--seeds', '0', '--epochs', '1', '--images', '40', cwd=tmp_path)
    rows = {row['way']: row for row in csv.DictReader(out.open())}
    assert tuple(rows) == ways and all(0 <= float(row['top1']) <= 100 for row in rows.values())
    shares = [float(row['share']) for row in rows.values()]
    assert shares[0] == 1 and max(abs(share - 0.6) for share in shares[2:]) < 0.05
    sizes = [int(row['parameters']) for row in rows.values()]
    assert sizes[2] < sizes[0] and sizes[3] < sizes[0]


def test_configs_are_counted(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    run('count_swaps.py', tmp_path / 'out.csv', '--match', 'atss_', '--arch', 'b0', cwd=tmp_path)
    states = {row['config']: row['state'] for row in csv.DictReader((tmp_path / 'out.csv').open())}
    assert len(states) > 3 and states['atss/atss_r50_fpn_1x_coco.py'] == 'run'


def test_swapped_models_take_a_step(tmp_path: Path) -> None:
    """With one map of classes missing the segmenter takes none, and is told apart from a fault of the swap."""
    CocoDataset = pytest.importorskip('mmdet.datasets').CocoDataset
    place = write_coco(tmp_path / 'drawn', CocoDataset.METAINFO['classes'], images=2)
    (tmp_path / 'coco/annotations').mkdir(parents=True)
    (tmp_path / 'drawn' / place['ann_file']).rename(tmp_path / 'coco/annotations/instances_train2017.json')
    (tmp_path / 'drawn/images').rename(tmp_path / 'coco/train2017')
    for kind, name, image in (
        ('images', '0.jpg', np.full((48, 64, 3), 80, np.uint8)),
        ('images', '1.jpg', np.full((48, 64, 3), 90, np.uint8)),
        ('annotations', '0.png', np.eye(48, 64, dtype=np.uint8)),
    ):
        (tmp_path / 'maps' / kind / 'train').mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / 'maps' / kind / 'train' / name)
    arguments = tmp_path / 'coco', tmp_path / 'maps', tmp_path / 'out.csv', '--match', 'maskformer_r50'
    found = []
    for second in (False, True):
        if second:  # what took no step is tried again, as its row is taken out
            shutil.copy(tmp_path / 'maps/annotations/train/0.png', tmp_path / 'maps/annotations/train/1.png')
            out = tmp_path / 'out.csv'
            out.write_text(''.join(line for line in out.open() if 'mmseg' not in line))
        run('train_swaps.py', *arguments, cwd=tmp_path)
        found.append({row['library']: row for row in csv.DictReader((tmp_path / 'out.csv').open())})
    first, last = found
    assert first['mmseg']['state'] == 'not before' and 'FileNotFoundError' in first['mmseg']['outcome']
    assert last['mmseg']['state'] == 'step' and float(last['mmseg']['outcome']) > 0
    assert 'head:MaskFormerHead' in last['mmseg']['classes'].split()
    assert first['mmdet']['state'] == 'step' and last['mmdet'] == first['mmdet']


def test_the_segmenter_can_be_built() -> None:
    pytest.importorskip('mmseg')
    config = Config.fromfile(ROOT / 'experiments/camvid.py')
    init_default_scope(config.default_scope)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    assert model.decode_head.num_classes == len(config.train_dataloader.dataset.metainfo.classes) == 11
