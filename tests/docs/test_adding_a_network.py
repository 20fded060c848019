"""The example of docs/adding-a-network.md, from outside the package, through everything that networks go through."""

import json
import os
import re
from pathlib import Path

import pytest
from new_process import run_script

pytest.importorskip('mmdet')

ROOT = Path(__file__).resolve().parents[2]
_DRIVER = """
import json, os, sys
import timm, torch
from PIL import Image
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmdet.testing import demo_mm_inputs
import convformer
from ss_backbones import commands, fold, load_weights
from ss_backbones.checkpoints.identification import identify
from ss_backbones.complexity import complexity

if __name__ == '__main__':  # the benchmark's processes read this file too
    found, x = {}, torch.randn(2, 3, 33, 40)
    backbone = convformer.SSConvFormer('nano', drop_path_rate=0.0).eval()
    found['shapes'] = [list(m.shape) for m in backbone(x)]
    found['told'] = [backbone.channels, backbone.strides]
    classifier = timm.create_model('ss_convformer_nano', num_classes=10).eval()
    report = load_weights(backbone, classifier.state_dict())
    found['missing'] = list(report.missing)
    features = timm.create_model('ss_convformer_nano', features_only=True).eval()
    features.load_state_dict(classifier.state_dict())
    found['same'] = all(torch.equal(a, b) for a, b in zip(backbone(x), features(x)))
    found['folded'] = max((a - b).abs().max().item() for a, b in zip(backbone(x), fold(backbone)(x)))
    found['identified'] = str(identify(classifier.state_dict(), 'it'))
    plain = complexity(timm.create_model('ss_convformer_nano', settings='uniform'))
    found['cheaper'] = complexity(timm.create_model('ss_convformer_nano')).macs < plain.macs
    torch.save(classifier.state_dict(), 'classifier.pth')

    config = Config.fromfile('detector.py')
    init_default_scope('mmdet')
    detector = MODELS.build(config.model)
    detector.init_weights()  # reads classifier.pth
    found['loaded'] = torch.equal(detector.backbone.patch_embed.proj.weight, classifier.patch_embed.proj.weight)
    data = detector.data_preprocessor(demo_mm_inputs(1, (3, 64, 64), num_classes=80, with_mask=True), True)
    loss, _ = detector.train().parse_losses(detector(**data, mode='loss'))
    loss.backward()
    found['without gradient'] = [
        name for name, p in detector.backbone.named_parameters() if p.requires_grad and p.grad is None
    ]
    found['codes'] = [
        commands.run('export', ['detector.py', 'maps.onnx', '--checkpoint', 'classifier.pth', '--shape', '1x64x64']),
        commands.run('benchmark', ['--models', 'convformer-nano', 'convformer-nano:uniform', '--against', '--shapes',
                                   '1x32x32', '--runs', '1']),
    ]
    plain = timm.create_model('ss_convformer_nano', num_classes=10, settings='uniform')
    torch.save(plain.state_dict(), 'plain.pth')
    os.mkdir('images')
    settings = [dict(vars(s), attn_ratio=0.5) for s in plain.settings]
    with open('narrow.py', 'w') as file:
        print("custom_imports = dict(imports=['convformer'])", file=file)
        print(f"model = dict(backbone=dict(name='ss_convformer_nano', settings={settings}))", file=file)
    for i in range(80):
        Image.effect_noise((64, 64), 60).convert('RGB').save(f'images/{i}.png')
    retina = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    found['codes'] += [
        commands.run('swap', [retina, 'convformer.SSConvFormer', '-o', 'swap.py']),
        commands.run('inherit', 'plain.pth ss_convformer_nano ss.pth --images images --img-size 64 64'.split()),
        commands.run('inherit', 'plain.pth narrow.py none.pth --images images --img-size 64 64'.split()),
    ]
    found['codes'] += [
        commands.run('show-settings', 'ss_convformer_nano --shape 64 64 --runs 1 --out shown.png'.split()),
        commands.run('show-settings', ['narrow.py', '--no-time']),
    ]
    found['inherited'] = len(torch.load('ss.pth')) > 50
    found['swapped'] = list(Config.fromfile('swap.py').model.neck.in_channels)
    json.dump(found, open('found.json', 'w'))
"""


def test_a_network_from_outside(tmp_path: Path) -> None:
    page = (ROOT / 'docs/adding-a-network.md').read_text()
    example = re.search(r'^```python\n(.*?)^```', page, re.DOTALL | re.MULTILINE)[1]
    assert len(example.splitlines()) < 120
    (tmp_path / 'convformer.py').write_text(example)
    (tmp_path / 'driver.py').write_text(_DRIVER)
    (tmp_path / 'detector.py').write_text(
        f"""
_base_ = '{ROOT}/configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
custom_imports = dict(imports=['convformer'])
model = dict(
    backbone=dict(
        _delete_=True, type='SSConvFormer', arch='nano',
        init_cfg=dict(type='Pretrained', checkpoint='classifier.pth')),
    neck=dict(in_channels=[16, 32, 64, 96]))
"""
    )
    environment = {'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'}  # for the processes of the benchmark
    done = run_script(tmp_path / 'driver.py', cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['shapes'] == [[2, 16, 9, 10], [2, 32, 5, 5], [2, 64, 3, 3], [2, 96, 2, 2]]
    assert found['told'] == [[16, 32, 64, 96], [4, 8, 16, 32]]
    assert found['missing'] == [] and found['same'] and found['loaded'] and found['cheaper']
    assert 0 < found['folded'] < 1e-5
    assert found['identified'] == "ss_convformer_nano (settings='specific', 10 classes)"
    assert found['without gradient'] == [] and found['codes'] == [0, 0, 0, 0, 2, 0, 0]
    # a mixer that does not say how its channels can be fewer is left as it is, or the settings are refused
    assert 'A SeparableConv cannot be made out of a SeparableConv with other tensors' in done.stdout, done.stdout[
        -1500:
    ]
    assert found['inherited'] and found['swapped'] == [32, 64, 96]
    assert (tmp_path / 'shown.png').exists() and re.search(r'stages\.2\.blocks\.1 +64 +256 +1 x 32 ', done.stdout)
    assert (tmp_path / 'maps.onnx').exists() and 'convformer-nano:uniform' in done.stdout
