"""What the tests of the commands that draw share: a detector and a segmenter, with a few images and their truth."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
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


@pytest.fixture(scope='session')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's config on three generated images, and a checkpoint of its untrained model."""
    pytest.importorskip('mmdet')
    folder = tmp_path_factory.mktemp('picture')
    base = Config.fromfile(DEMO_CONFIG)
    data = write_coco(folder / 'data', base.metainfo['classes'], images=3)
    config = folder / 'config.py'
    config.write_text(
        f'_base_ = {str(DEMO_CONFIG)!r}\n'
        f'test_dataloader = dict(num_workers=0, dataset=dict(**{data!r}))\n'
        f'test_evaluator = dict(ann_file={str(folder / "data/annotations.json")!r})\n'
    )
    init_default_scope('mmdet')
    torch.manual_seed(0)
    torch.save({'state_dict': MODELS.build(base.model).state_dict(), 'meta': {}}, folder / 'model.pth')
    return config, folder / 'model.pth'


@pytest.fixture(scope='session')
def maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The segmentation demo's config on two generated images, and a checkpoint that finds rings everywhere."""
    pytest.importorskip('mmseg')
    folder = tmp_path_factory.mktemp('picture-of-maps')
    options = ['--train', '1', '--val', '2', '--size', '60']
    assert commands.run('make-shapes', [str(folder / 'data'), *options]) == 0
    config = folder / 'config.py'
    settings = f'test_dataloader = dict(num_workers=0, dataset=dict(data_root={str(folder / "data")!r}))\n'
    config.write_text(f'_base_ = {str(DEMO_SEG_CONFIG)!r}\n{settings}')
    base = Config.fromfile(DEMO_SEG_CONFIG)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    state = MODELS.build(base.model).state_dict()
    state['decode_head.conv_seg.bias'][base.metainfo['classes'].index('ring')] = 1e4
    torch.save({'state_dict': state, 'meta': {}}, folder / 'model.pth')
    return config, folder / 'model.pth'
