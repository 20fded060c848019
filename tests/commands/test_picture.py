"""ss-backbones picture, as a user calls it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from tiny_data import write_coco
from tool_call import call_command

from ss_backbones import commands

ROOT = Path(__file__).resolve().parents[2]
DEMO_CONFIG = ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py'
DEMO_SEG_CONFIG = ROOT / 'configs/demo/upernet_ss-pvtv2-b0_shapes.py'


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command's exit code, and everything that was said."""
    return lambda name, *arguments: call_command(name, arguments, capsys)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's config on three generated images, and a checkpoint of its untrained model."""
    folder = tmp_path_factory.mktemp('picture')
    base = Config.fromfile(DEMO_CONFIG)
    data = write_coco(folder / 'data', base.metainfo['classes'], images=3)
    config = folder / 'config.py'
    config.write_text(f'_base_ = {str(DEMO_CONFIG)!r}\ntest_dataloader = dict(dataset=dict(**{data!r}))\n')
    init_default_scope('mmdet')
    torch.save({'state_dict': MODELS.build(base.model).state_dict(), 'meta': {}}, folder / 'model.pth')
    return config, folder / 'model.pth'


def test_picture_shows_truth_beside_prediction(call, shapes: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / 'new' / 'picture.png'
    code, said = call('picture', *shapes, out, '--num', 2)
    assert code == 0 and f'{out}: 2 images' in said
    picture = Image.open(out).convert('RGB')
    assert picture.width > 4 * 200  # two images in a row, each with its truth and its prediction
    truth = picture.crop((6, 30, 246, picture.height))
    assert len(truth.getcolors(100_000)) > 20  # not an empty panel


@pytest.fixture(scope='module')
def maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The segmentation demo's config on two generated images, and a checkpoint that finds rings everywhere."""
    folder = tmp_path_factory.mktemp('picture-of-maps')
    options = ['--train', '1', '--val', '2', '--size', '60']
    assert commands.run('make-shapes', [str(folder / 'data'), *options]) == 0
    config = folder / 'config.py'
    settings = f'test_dataloader = dict(dataset=dict(data_root={str(folder / "data")!r}))\n'
    config.write_text(f'_base_ = {str(DEMO_SEG_CONFIG)!r}\n{settings}')
    base = Config.fromfile(DEMO_SEG_CONFIG)
    init_default_scope('mmseg')
    state = MODELS.build(base.model).state_dict()
    state['decode_head.conv_seg.bias'][base.metainfo['classes'].index('ring')] = 1e4
    torch.save({'state_dict': state, 'meta': {}}, folder / 'model.pth')
    return config, folder / 'model.pth'


def test_picture_of_maps(call, maps: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / 'picture.png'
    code, said = call('picture', *maps, out)
    assert code == 0 and f'{out}: 2 images' in said
    picture = np.asarray(Image.open(out).convert('RGB')).astype(float)
    metainfo = Config.fromfile(DEMO_SEG_CONFIG).metainfo
    palette = np.array(metainfo['palette'])
    ring = metainfo['classes'].index('ring')
    seen = {ring}
    for column, name in enumerate(('000000.png', '000001.png')):
        truth = cv2.imread(str(maps[0].parent / 'data/val_maps' / name), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(maps[0].parent / 'data/val' / name))[..., ::-1]
        seen |= set(np.unique(truth).tolist())
        for place, classes in ((2 * column, truth), (2 * column + 1, np.full_like(truth, ring))):
            left = 6 + place * 246
            panel = picture[24 : 24 + 240, left : left + 240]
            small = panel.reshape(60, 4, 60, 4, 3).mean(axis=(1, 3))  # the picture enlarges each pixel to 4 x 4
            expected = 0.2 * image + 0.8 * palette[classes]
            assert np.abs(small - expected).mean() < 6, (name, place)
    legend = picture[24 + 240 :].reshape(-1, 3)
    found = {i for i, colour in enumerate(palette) if (np.abs(legend - colour).max(axis=1) < 30).sum() > 50}
    assert found == seen


def test_picture_refuses_what_does_not_belong_together(
    call, shapes: tuple[Path, Path], maps: tuple[Path, Path], tmp_path: Path
) -> None:
    def config(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    base = f'_base_ = {str(maps[0])!r}\n'
    wide = config('wide.py', base + 'model = dict(decode_head=dict(channels=48))\n')
    other = config('other.py', base + "default_scope = 'mmpretrain'\n")
    nothing = config('nothing.py', 'model = dict()\n')
    unlabelled = config(
        'unlabelled.py',
        base + "test_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img_path='val/')))\n",
    )
    lost = config('lost.py', base + "test_dataloader = dict(dataset=dict(data_root='nowhere/'))\n")
    for arguments, text in (
        ((maps[0], shapes[1]), 'holds the weights of another model'),
        ((shapes[0], maps[1]), 'holds the weights of another model'),
        ((wide, maps[1]), 'holds the weights of another model'),
        ((other, maps[1]), 'is for mmpretrain (its default_scope), expected mmdet or mmseg'),
        ((nothing, maps[1]), 'does not say what library it is for'),
        ((unlabelled, maps[1]), 'has no label maps'),
        ((lost, maps[1]), 'nowhere/val'),
    ):
        code, said = call('picture', *arguments, tmp_path / 'a.png')
        assert code == 2 and text in said, said
        assert len(said.splitlines()[-1]) < 400
    assert not (tmp_path / 'a.png').exists()


def test_picture_refuses(call, shapes: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = shapes
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:5000])
    for arguments, text in (
        ((tmp_path / 'no.py', checkpoint, 'a.png'), 'there is no config file'),
        ((config, tmp_path / 'no.pth', 'a.png'), 'no.pth does not exist'),
        ((config, tmp_path, 'a.png'), 'is a directory'),
        ((config, tmp_path / 'cut.pth', 'a.png'), 'cut.pth cannot be read as a checkpoint'),
        ((config, checkpoint, 'a.jpg'), 'does not end in .png'),
        ((config, checkpoint, 'a.png', '--num', 0), 'at least 1, not 0'),
    ):
        code, said = call('picture', *arguments)
        assert code == 2 and text in said, said
