"""The size of images that an export takes from a config: held against what the config's own test makes of an image."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('onnxruntime')

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import Compose  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402
from tool_call import call_command  # noqa: E402

from ss_backbones.commands import export  # noqa: E402
from ss_backbones.deploy.onnx.config_size import size_in  # noqa: E402
from ss_backbones.openmmlab.configs import read_config  # noqa: E402


def batch_size_of(config: Config, height: int, width: int, file: Path) -> tuple[int, int]:
    """The size of a batch with an image of so many pixels, as the config's own parts make it."""
    cv2.imwrite(str(file), np.zeros((height, width, 3), np.uint8))
    init_default_scope(config.default_scope)
    steps = [step for step in config.test_dataloader.dataset.pipeline if 'Annotations' not in step['type']]
    packed = Compose(steps)({'img_path': str(file), 'img_id': 0})
    processor = MODELS.build(config.model.data_preprocessor)
    batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    return tuple(processor(batch, training=False)['inputs'].shape[2:])


@pytest.mark.parametrize(
    ('name', 'image', 'reason'),
    [
        ('ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py', (480, 799), 'filled up to multiples of 32'),
        ('ss_backbones::swapped/dino-4scale_ss-pvtv2-b2_8xb2-12e_coco.py', (480, 800), 'the most that Resize leaves'),
        ('ss_backbones::swapped/rtmdet_ss-pvtv2-b2_8xb32-300e_coco.py', (50, 99), 'Pad to 640 x 640'),
        ('ss_backbones::semantic_fpn/fpn_ss-pvtv2-b0_8xb2-80k_ade20k-512x512.py', (99, 99), 'data_preprocessor.size'),
        ('mmdet::ssd/ssd512_coco.py', (50, 99), 'Resize to 512 x 512 in the test pipeline'),
        ('mmseg::ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py', (60, 120), 'the most that Resize leaves'),
        ('mmdet::solo/decoupled-solo-light_r50_fpn_3x_coco.py', (300, 500), 'filled up to multiples of 32'),
    ],
)
def test_the_size_of_the_test(name: str, image: tuple[int, int], reason: str, tmp_path: Path) -> None:
    config = read_config(name, {})
    found = size_in(config)
    assert (found.height, found.width) == batch_size_of(config, *image, tmp_path / 'image.png')
    assert reason in found.reason


@pytest.mark.parametrize(
    ('options', 'size'),
    [
        ({'test_dataloader.dataset.transform.input_size': 384}, (384, 384)),
        ({'test_dataloader.dataset.transform.input_size': (3, 96, 64)}, (96, 64)),
        ({'model.test_cfg': dict(mode='slide', crop_size=(96, 64), stride=(9, 9))}, (96, 64)),
        ({'model.data_preprocessor.test_cfg': dict(size=(96, 64))}, (96, 64)),
        ({'test_dataloader.dataset.pipeline': [dict(type='mmcv.Resize', scale=(64, 96))]}, (96, 64)),
        ({'test_dataloader.dataset': dict(datasets=[dict(pipeline=[dict(type='Resize', scale=64)])])}, (64, 64)),
        ({'test_dataloader.dataset.pipeline': [dict(type='RandomChoiceResize', scales=[(64, 96)])]}, None),
        ({'model': None}, None),
        ({}, None),
    ],
)
def test_where_a_config_says_it(options: dict[str, object], size: tuple[int, int] | None) -> None:
    config = Config()
    config.merge_from_dict(options)
    found = size_in(config)
    assert (found and (found.height, found.width)) == size


CONFIG = """
arch = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), sr_ratios=(4, 2), mlp_ratios=(2, 2))
default_scope = 'mmdet'
model = dict(
    backbone=dict(type='SSPVTv2', arch=arch, out_indices=(0, 1)), data_preprocessor=dict(pad_size_divisor=32))
test_dataloader = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(120, 64), keep_ratio=True)]))
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    return lambda *arguments: call_command('export', arguments, capsys)


def test_an_export_says_which_size_it_takes(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / 'config.py').write_text(CONFIG)
    code, said = run(tmp_path / 'config.py', tmp_path / 'a.onnx')
    reason = 'the most that Resize leaves of a landscape image in the test, filled up to multiples of 32'
    assert code == 0 and f'Images of 64 x 128 pixels: {reason}. --shape 1xHxW takes another size.\n' in said, said
    assert "input 'image' (1, 3, 64, 128)" in said
    code, said = run(tmp_path / 'config.py', tmp_path / 'b.onnx', '--shape', '2x32x32')
    assert code == 0 and '(2, 3, 32, 32)' in said and 'Images of' not in said


def test_networks_that_no_config_speaks_of() -> None:
    import timm

    from ss_backbones.networks import network_in

    for name, size in (('ss_pvt_v2_b0', (224, 224)), ('ss_vit_base_patch16_384', (384, 384))):
        found = export._size_of(network_in(timm.create_model(name, device='meta')))
        assert (found.height, found.width) == size
