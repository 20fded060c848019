"""Configs of mmdetection and mmsegmentation with another backbone: what changes, that it fits, and what is refused."""

from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from config_files import ROOT, SWAPPED  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402
from tool_call import call_command  # noqa: E402

from ss_backbones.openmmlab.configs import find_config, library_of, read_config  # noqa: E402
from ss_backbones.openmmlab.swapping import child_config, plan_swap, verify  # noqa: E402
from ss_backbones.openmmlab.swapping.maps import NumbersStay  # noqa: E402
from ss_backbones.openmmlab.swapping.verifying import RUN  # noqa: E402

B2, ALL = [64, 128, 320, 512], (0, 1, 2, 3)
# By config: which maps are taken, and what the consumers of the maps get. One for each way in which maps are taken.
DETECTORS = {
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': (ALL, {'neck.in_channels': B2}),
    'atss/atss_r50_fpn_1x_coco.py': ((1, 2, 3), {'neck.in_channels': B2[1:], 'neck.start_level': 0}),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': ((1, 2, 3), {'neck.in_channels': B2[1:], 'neck.start_level': 0}),
    'rtmdet/rtmdet_l_8xb32-300e_coco.py': ((1, 2, 3), {'neck.in_channels': B2[1:]}),
    'dino/dino-4scale_r50_8xb2-12e_coco.py': ((1, 2, 3), {'neck.in_channels': B2[1:]}),
    'detr/detr_r50_8xb2-150e_coco.py': ((3,), {'neck.in_channels': [512]}),
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': ((3,), {'neck.in_channels': 512}),
    'yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco.py': ((1, 2, 3), {'neck.in_channels': B2[:0:-1]}),
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': (ALL, {'panoptic_head.in_channels': B2}),
    # a backbone of a library that is not installed
    'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py': (ALL, {'neck.in_channels': B2}),
}
SEGMENTERS = {
    'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py': (
        ALL,
        {'decode_head.in_channels': B2, 'auxiliary_head.in_channels': 320},
    ),
    # two of four maps, and one more for the details
    'pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py': (
        (2, 3),
        {'decode_head.in_channels': 512, 'decode_head.in_index': 1, 'auxiliary_head.in_index': 0},
    ),
    'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py': (
        (0, 2, 3),
        {'decode_head.c1_in_channels': 64, 'decode_head.in_index': 2, 'auxiliary_head.in_channels': 320},
    ),
    'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py': (ALL, {'decode_head.in_channels': B2}),
    # maps of one size, of which the neck makes a pyramid
    'vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py': (ALL, {'neck': None, 'decode_head.in_channels': B2}),
    # a neck that hands all maps on but the last
    'fastfcn/fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512.py': (
        (1, 2, 3),
        {'neck.in_channels': (128, 320, 512), 'auxiliary_head.in_channels': 320, 'decode_head.in_channels': 2048},
    ),
    'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py': (
        ALL,
        {'neck.in_channels': B2, 'decode_head.in_channels': [256] * 4},
    ),
    'hrnet/fcn_hr18_4xb4-80k_ade20k-512x512.py': (ALL, {'decode_head.in_channels': B2}),
}
CASES = [('mmdet', *case) for case in DETECTORS.items()] + [('mmseg', *case) for case in SEGMENTERS.items()]


def swapped(library: str, name: str, folder: Path, kind: str = 'SSPVTv2', **options: object) -> Config:
    """The config after the swap, read again."""
    path = find_config(f'{library}::{name}')
    backbone = {'type': kind, 'ramp': 'bias', 'init_cfg': None, **options}
    plan = plan_swap(read_config(path, {}), name, library, backbone)
    file = folder / 'swapped.py'
    file.write_text(child_config(plan, path, 'a test', ['ss_backbones']))
    return Config.fromfile(file)


def value_at(model: Config, path: str) -> object:
    for key in path.split('.'):
        model = model[key]
    return model


@pytest.mark.parametrize(
    ('library', 'name', 'expected'), CASES, ids=lambda value: value if isinstance(value, str) else ''
)
def test_maps_go_by_their_strides_and_channels_to_whoever_takes_them(
    library: str, name: str, expected: tuple, tmp_path: Path
) -> None:
    config = swapped(library, name, tmp_path, arch='b2')
    taken, values = expected
    assert config.model.backbone.type == 'SSPVTv2' and config.model.backbone.out_indices == taken
    assert not {'depth', 'style', 'frozen_stages'} & config.model.backbone.keys()
    assert {path: value_at(config.model, path) for path in values} == values
    assert config.model.get('pretrained') is None
    processor = config.model.data_preprocessor
    assert (processor.mean, processor.std) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert processor.bgr_to_rgb
    old = read_config(f'{library}::{name}', {})
    assert verify(config, old, name, library_of(config)) == RUN


@pytest.mark.parametrize('ramp', ['paper', 'none'])
def test_ramps_are_where_the_rest_of_the_model_is(ramp: str, tmp_path: Path) -> None:
    name = 'retinanet/retinanet_r50_fpn_1x_coco.py'
    config = swapped('mmdet', name, tmp_path, ramp=ramp)
    assert verify(config, config, name, 'mmdet') == RUN


def test_a_detector_inside_of_a_teacher_is_swapped(tmp_path: Path) -> None:
    name = 'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
    config = swapped('mmdet', name, tmp_path, arch='b0')
    assert config.model.detector.backbone.arch == 'b0' and config.model.detector.neck.in_channels == [32, 64, 160, 256]
    assert verify(config, config, name, 'mmdet') == RUN


def test_a_neck_that_numbers_all_maps_gets_all(tmp_path: Path) -> None:
    """NASFCOS_FPN takes sizes from maps that it does not take otherwise; verifying stops at its operators."""
    config = swapped('mmdet', 'nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py', tmp_path, arch='b2')
    init_default_scope('mmdet')
    neck = MODELS.build({**config.model.neck, 'conv_cfg': None})
    assert config.model.backbone.out_indices == ALL and config.model.neck.in_channels == B2
    maps = [torch.rand(2, c, 64 // s, 64 // s) for c, s in zip(B2, (4, 8, 16, 32), strict=True)]
    assert [m.shape[-1] for m in neck(maps)] == [8, 4, 2, 1, 1]


def test_what_the_pyramid_of_a_vit_has_no_use_for_is_not_built(tmp_path: Path) -> None:
    """A level without gradient would stop DDP."""
    config = swapped('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py', tmp_path, 'SSViT')
    init_default_scope('mmdet')
    backbone = MODELS.build(config.model.backbone)
    assert config.model.neck.in_channels == backbone.channels and config.model.neck.start_level == 0
    sum(m.sum() for m in backbone(torch.randn(1, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_a_resnets_optimiser_goes_and_a_transformers_stays(tmp_path: Path) -> None:
    config = swapped('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', tmp_path)
    assert config.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=0.05)
    assert config.optim_wrapper.constructor == 'ss_backbones.LayerDecayOptimizerConstructor'
    assert config.optim_wrapper.paramwise_cfg == dict(layer_decay_rate=1.0)
    dino = 'dino/dino-4scale_r50_8xb2-12e_coco.py'
    before = read_config(f'mmdet::{dino}', {}).optim_wrapper
    assert swapped('mmdet', dino, tmp_path).optim_wrapper == before


@pytest.mark.parametrize(
    ('library', 'name'),
    [
        ('mmdet', 'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'),
        ('mmseg', 'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'),
        ('mmseg', 'beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py'),
    ],
)
def test_learning_rates_by_the_layers_of_the_old_backbone_go(library: str, name: str, tmp_path: Path) -> None:
    """The constructors of the two libraries raise for backbones that they do not know."""
    config = swapped(library, name, tmp_path, arch='b0')
    assert config.optim_wrapper.optimizer == read_config(f'{library}::{name}', {}).optim_wrapper.optimizer
    init_default_scope(library)
    with torch.device('meta'), NumbersStay():
        model = MODELS.build(config.model)
    config.optim_wrapper.type = 'OptimWrapper'  # the one for mixed precision refuses CPUs
    config.optim_wrapper.pop('loss_scale', None)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    assert {group['lr'] for group in optimizer.param_groups} == {config.optim_wrapper.optimizer.lr}


@pytest.mark.parametrize(
    'name',
    [
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
        'qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py',
    ],
)
def test_images_are_normalised_wherever_that_is_said(name: str, tmp_path: Path) -> None:
    def means(value: object) -> list[object]:
        if not isinstance(value, dict):
            return []
        return [*([value['mean']] if 'mean' in value else []), *(x for inner in value.values() for x in means(inner))]

    before = means(read_config(f'mmdet::{name}', {}).model)
    after = means(swapped('mmdet', name, tmp_path, arch='b0').model)
    assert before and set(map(tuple, before)) == {(103.53, 116.28, 123.675)}
    assert after == [[123.675, 116.28, 103.53]] * len(before)


@pytest.mark.parametrize(
    ('name', 'place'),
    [
        ('masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py', 'model.detector.init_cfg'),
        ('mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019.py', 'model.init_cfg'),
        ('cityscapes/faster-rcnn_r50_fpn_1x_cityscapes.py', 'load_from'),
    ],
)
def test_weights_of_the_whole_old_model_are_not_loaded(name: str, place: str, tmp_path: Path) -> None:
    assert 'https://' in str(value_at(read_config(f'mmdet::{name}', {}), place))
    assert value_at(swapped('mmdet', name, tmp_path, arch='b0'), place) is None


@pytest.mark.parametrize(
    ('config', 'backbone', 'expected'),
    [
        ('mmdet::yolox/yolox_s_8xb8-300e_coco.py', 'SSPVTv2', 'CSPDarknet cannot be swapped: YOLOX'),
        ('mmdet::ssd/ssd300_coco.py', 'SSPVTv2', 'SSDVGG cannot be swapped: SSD puts its extra maps inside its VGG'),
        ('mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py', 'SSPVTv2', "is the box head's (C4). Take a config"),
        ('mmseg::unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py', 'SSViT', 'UNet cannot be swapped'),
        ('mmdet::atss/atss_r50_fpn_1x_coco.py', 'ResNet', 'ResNet is no backbone of this package, such as SSPVTv2'),
        ('mmdet::atss/atss_r50_fpn_1x_coc.py', 'SSViT', 'Perhaps mmdet::atss/atss_r50_fpn_1x_coco.py'),
        ('nothing.py', 'SSViT', 'there is no config file nothing.py'),
        ('ss_backbones::imagenet/ss-pvtv2-b0_8xb128_in1k.py', 'SSViT', 'is no config of mmdetection or mmsegmentation'),
    ],
)
def test_what_cannot_be_is_told_in_words(
    config: str, backbone: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out.py'
    code, said = call_command('swap', [config, backbone, '-o', out], capsys)
    assert code == 2 and expected in said and 'Traceback' not in said, said
    assert not out.exists()


def test_the_command_writes_a_child_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine').mkdir()
    Path('mine/retina.py').write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    arguments = ['mine/retina.py', 'SSPVTv2', '--arch', 'b1', '--weights', 'b1.pth', '--keep-optimizer']
    code, said = call_command('swap', arguments, capsys)
    assert code == 0 and 'retina_sspvtv2-b1.py: built, and run up to its heads.' in said, said
    text = Path('retina_sspvtv2-b1.py').read_text()
    assert "_base_ = './mine/retina.py'" in text and 'The neck starts at level 1' in text
    config = Config.fromfile('retina_sspvtv2-b1.py')
    assert config.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='b1.pth')
    assert config.optim_wrapper.optimizer.type == 'SGD' and config.custom_imports.imports == ['ss_backbones']
    code, said = call_command('swap', arguments, capsys)
    assert code == 2 and 'exists already' in said


@pytest.mark.parametrize('name', SWAPPED)
def test_the_configs_that_were_made_are_what_the_command_makes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / name).read_text()
    words = text.partition('\n')[0].removeprefix('# Made by: ss-backbones swap ').split()
    monkeypatch.chdir(tmp_path)
    code, said = call_command('swap', [*words, '-o', 'again.py'], capsys)
    assert code == 0, said
    assert Path('again.py').read_text() == text
