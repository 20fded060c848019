"""ss-backbones predict, as a user calls it."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

SEG_CONFIG = 'ss_backbones::demo/upernet_ss-pvtv2-b0_shapes.py'
PALETTE = np.array([(0, 0, 0), (230, 25, 75), (0, 110, 220), (255, 170, 20), (40, 190, 80)])
RING = 4


@pytest.fixture
def images(maps: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two images and a text, in the working directory, which has no data set."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(maps[0].parent / 'data/val', tmp_path / 'images')
    (tmp_path / 'images/notes.txt').write_text('no image')
    return Path('images')


def row(said: str, image: str) -> str:
    return next(line for line in said.splitlines() if line.strip().startswith(image))


def test_classes_of_pixels(call, maps: tuple[Path, Path], images: Path) -> None:
    code, said = call('predict', SEG_CONFIG, maps[1], images)
    assert code == 0, said
    for name in ('000000.png', '000001.png'):
        words = row(said, f'images/{name}').split()
        assert words == [f'images/{name}', 'ring', '100.0%', f'predictions/{name}']
        picture = np.asarray(Image.open(f'predictions/{name}').convert('RGB')).astype(float)
        image = cv2.imread(f'images/{name}')[..., ::-1]
        panel = cv2.resize(picture[6:486, 6:486], (60, 60), interpolation=cv2.INTER_AREA)
        assert np.abs(panel - (0.4 * image + 0.6 * PALETTE[RING])).mean() < 3
        legend = np.abs(picture[492:] - PALETTE[RING]).max(axis=2) < 2
        assert legend.sum() > 50  # in full colour
    assert sorted(path.name for path in Path('predictions').iterdir()) == ['000000.png', '000001.png']


def test_shares_of_classes_are_those_of_the_library(call, maps: tuple[Path, Path], images: Path) -> None:
    from mmseg.apis import inference_model, init_model

    state = torch.load(maps[1])
    state['state_dict']['decode_head.conv_seg.bias'].zero_()
    state['meta'] = {'dataset_meta': {'classes': list('abcde'), 'palette': [[9, 9, 9]] * 5}}
    torch.save(state, 'random.pth')
    code, said = call('predict', SEG_CONFIG, 'random.pth', images / '000000.png', '--out', 'new/folder')
    model = init_model(Config.fromfile(maps[0]), 'random.pth', 'cpu')
    labels = inference_model(model, 'images/000000.png').pred_sem_seg.data[0].numpy()
    counts = Counter('abcde'[label] for label in labels.flatten())
    assert code == 0 and len(counts) > 1
    expected = ', '.join(f'{name} {count / labels.size:.1%}' for name, count in counts.most_common())
    assert expected in row(said, 'images/000000.png') and Path('new/folder/000000.png').is_file()


@pytest.mark.parametrize('known', ['by the checkpoint', 'by the config', 'by its data set', 'by neither'])
def test_instances_are_those_of_the_library(call, shapes: tuple[Path, Path], images: Path, known: str) -> None:
    from mmdet.apis import inference_detector, init_detector

    state = torch.load(shapes[1])
    config = Config.fromfile(shapes[0])
    names: tuple[str, ...] = config.metainfo['classes']
    if known == 'by the checkpoint':
        names = ('box', 'tent', 'plus', 'wheel')
        state['meta'] = {'dataset_meta': {'classes': names}}
    if known == 'by its data set':
        names = ('person', 'bicycle', 'car', 'motorcycle')  # COCO's
        del config.test_dataloader.dataset.metainfo
    if known == 'by neither':
        names = tuple('0123')
        del config.test_dataloader.dataset.metainfo
        config.test_dataloader.dataset.type = 'BaseDetDataset'
    config.dump('config.py')
    torch.save(state, 'model.pth')
    code, said = call('predict', 'config.py', 'model.pth', images / '000001.png', '--score-thr', 0.3)
    model = init_detector(Config.fromfile(shapes[0]), str(shapes[1]), device='cpu')
    found = inference_detector(model, 'images/000001.png').pred_instances
    found = found[found.scores >= 0.3]
    counts = Counter(found.labels.tolist())
    best = {label: found.scores[found.labels == label].max().item() for label in counts}
    assert code == 0 and counts, said
    expected = [f'{count} {names[label]} (best {best[label]:.2f})' for label, count in counts.items()]
    assert all(words in row(said, 'images/000001.png') for words in expected), said
    picture = np.asarray(Image.open('predictions/000001.png')).astype(int)
    assert picture.shape == (480, 480, 3)  # of 60 pixels, enlarged so that the names can be read
    if known == 'by the config':  # the frame has the colour of its class
        left, top, right, bottom = (8 * found.bboxes[0]).int().tolist()
        frame = np.concatenate([picture[bottom, left:right], picture[top:bottom, left]])
        assert (np.abs(frame - PALETTE[1 + found.labels[0]]).max(axis=1) < 2).mean() > 0.4


def test_nothing_found_is_said(call, shapes: tuple[Path, Path], images: Path) -> None:
    code, said = call('predict', *shapes, images / '000000.png', '--score-thr', 1)
    assert code == 0 and 'nothing with a score from 1' in said
    small, large = (cv2.imread(f'{folder}/000000.png') for folder in ('images', 'predictions'))
    assert np.abs(cv2.resize(large, (60, 60), interpolation=cv2.INTER_AREA).astype(float) - small).mean() < 3


def test_images_that_cannot_be_read_stop_no_others(call, maps: tuple[Path, Path], images: Path) -> None:
    (images / '000000.png').write_bytes(b'no image')
    code, said = call('predict', *maps, images)
    assert code == 2 and 'ring 100.0%' in said and '1 of 2 images could not be read' in said
    assert 'images/000000.png cannot be read as an image' in ' '.join(said.split())
    assert [path.name for path in Path('predictions').iterdir()] == ['000001.png']


def test_refused_before_anything_is_computed(call, maps: tuple[Path, Path], shapes, images: Path) -> None:
    Path('empty').mkdir()
    Path('other').mkdir()
    shutil.copy('images/000000.png', 'other/000000.jpg')
    Path('classifier.py').write_text("model = dict(type='ss_backbones.ImageClassifier')\n")
    Path('blind.py').write_text(f'_base_ = {str(maps[0])!r}\ntest_dataloader = dict(dataset=dict(pipeline=[]))\n')
    Path('wrong.py').write_text(f'_base_ = {str(maps[0])!r}\nmodel = dict(decode_head=dict(no_such=1))\n')
    pipeline = "[dict(type='PackSegInputs')]"
    text = f'_base_ = {str(maps[0])!r}\ntest_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    Path('unloaded.py').write_text(text)
    for name, change in (('nan', lambda value: value * torch.nan), ('sparse', torch.Tensor.to_sparse)):
        state = torch.load(maps[1])
        state['state_dict']['decode_head.conv_seg.bias'] = change(state['state_dict']['decode_head.conv_seg.bias'])
        torch.save(state, f'{name}.pth')
    Path('taken').mkdir()
    Path('taken/000001.png').write_text('mine')
    for arguments, text in (
        ((*maps, 'no.png'), 'no.png does not exist'),
        ((*maps, 'empty'), 'The folder empty has no images (.jpg'),
        ((*maps, images, 'other'), 'images/000000.png and other/000000.jpg would both become predictions/000000.png'),
        ((*maps, images, '--out', 'taken'), 'taken/000001.png exists already and is never written over'),
        ((*maps, 'images/000001.png', '--out', images), 'images/000001.png exists already'),
        ((*maps, images, '--out', 'images/notes.txt'), 'images/notes.txt is no folder'),
        ((*maps, images, '--score-thr', -0.1), 'from 0 to 1, not -0.1'),
        ((*maps, images, '--score-thr', 'nan'), 'from 0 to 1, not nan'),
        ((*maps, images, '--device', 'cuda:99'), '--device cuda:99: there is no such device here'),
        ((*maps, images, '--device', 'banana'), '--device banana: there is no such device here'),
        ((*maps, images, '--device', 'meta'), '--device meta: there is no such device here'),
        ((maps[0], shapes[1], images), 'holds the weights of another model'),
        ((maps[0], 'no.pth', images), 'no.pth does not exist'),
        (
            (maps[0], 'nan.pth', images),
            'nan.pth: 1 tensors hold NaN or infinity, the first is decode_head.conv_seg',
        ),
        ((maps[0], 'sparse.pth', images), 'sparse.pth: decode_head.conv_seg.bias is of the layout torch.sparse_coo'),
        (('no.py', maps[1], images), 'there is no config file no.py'),
        (('classifier.py', maps[1], images), 'is for a classifier'),
        (('blind.py', maps[1], images), 'has no test_dataloader.dataset.pipeline'),
        (('wrong.py', maps[1], images), 'The model of wrong.py cannot be built: TypeError'),
        (('unloaded.py', maps[1], images, '--out', 'new'), 'unloaded.py cannot be run on the image images/000000.png'),
    ):
        code, said = call('predict', *arguments)
        assert code == 2 and text in said, said
        assert 'Traceback' not in said and len(said.splitlines()[-1]) < 500
    assert [(path.name, path.read_text()) for path in Path('taken').iterdir()] == [('000001.png', 'mine')]
    assert not Path('predictions').exists()


def test_an_image_that_is_given_twice_is_drawn_once(call, maps: tuple[Path, Path], images: Path) -> None:
    code, said = call('predict', *maps, images, images / '000001.png', Path.cwd() / images)
    assert code == 0 and said.count('ring 100.0%') == 2
