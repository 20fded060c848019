"""Loading weights: every layout, every wrapping, and what becomes of bad files."""

import argparse
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import load_state_dict
from other_layouts import to_pvt
from safetensors.torch import save_file
from table import ARCHS
from torch import nn

from ss_backbones import CheckpointError, SSPVTv2, load_weights


def backbone(arch: str = 'b0', **arguments: object) -> SSPVTv2:
    return SSPVTv2(arch, drop_path_rate=0.0, **arguments).eval()


def equal(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'model.', '_orig_mod.', 'module.model.backbone.'])
@pytest.mark.parametrize('layout', [dict, to_pvt], ids=['official', 'whai362'])
def test_layouts_and_prefixes(layout: Callable[[dict], dict], prefix: str) -> None:
    source, target = backbone(), backbone()
    weights = {prefix + key: value for key, value in layout(source.state_dict()).items()}
    weights |= {'neck.weight': torch.ones(1), 'head.weight': torch.ones(2, 2)}
    report = load_weights(target, {'state_dict': weights, 'meta': {'epoch': 3}})
    assert equal(source, target) and report.share == 1 and not report.missing


def test_mmdet_layout_gives_mmdet_features() -> None:
    theirs = (
        pytest.importorskip('mmdet.models.backbones')
        .PyramidVisionTransformerV2(embed_dims=32, num_layers=[2, 2, 2, 2], drop_path_rate=0.0)
        .double()
        .eval()
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1))
    # mmdet gives every norm the same eps, where PVTv2 has 1e-5 in its embeddings and reductions.
    ours = backbone(settings='uniform').double()
    for module in ours.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    assert load_weights(ours, theirs.state_dict()).share == 1
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_whole_detector_of_mmdet_goes_through_the_hook() -> None:
    theirs = pytest.importorskip('mmdet.models.backbones').PyramidVisionTransformerV2(
        embed_dims=32, num_layers=[2, 2, 2, 2]
    )
    detector = nn.Module()
    detector.backbone, detector.head = backbone(settings='uniform'), nn.Linear(2, 2)
    weights = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    weights |= {f'head.{key}': value for key, value in nn.Linear(2, 2).state_dict().items()}
    load_state_dict(detector, weights, strict=True)
    assert torch.equal(detector.head.weight, weights['head.weight'])
    kv = detector.backbone.stages[3].blocks[1].attn.kv.weight
    assert torch.equal(kv, theirs.layers[3][1][1].attn.attn.in_proj_weight[256:])


@pytest.mark.parametrize(
    ('make', 'use_ema', 'wanted'),
    [
        (lambda a, r: {'state_dict_ema': a, 'state_dict': r}, True, 'averaged'),
        (lambda a, r: {'state_dict_ema': a, 'state_dict': r}, False, 'raw'),
        (lambda a, r: {'model_ema': a, 'model': r, 'args': argparse.Namespace(lr=1)}, True, 'averaged'),
        (lambda a, r: {'model': r, 'optimizer': {'state': {}}}, True, 'raw'),
        # mmengine's EMAHook: state_dict is the average, ema_state_dict the raw weights
        (lambda a, r: {'state_dict': a, 'ema_state_dict': {f'module.{k}': v for k, v in r.items()}}, True, 'averaged'),
        (lambda a, r: {'state_dict': a, 'ema_state_dict': {f'module.{k}': v for k, v in r.items()}}, False, 'raw'),
    ],
)
def test_averaged_or_raw(make: Callable, use_ema: bool, wanted: str, tmp_path: Path) -> None:
    networks = {'averaged': backbone(), 'raw': backbone()}
    file = tmp_path / 'both.pth'
    torch.save(make(networks['averaged'].state_dict(), networks['raw'].state_dict()), file)
    target = backbone()
    load_weights(target, file, use_ema=use_ema)
    assert equal(networks[wanted], target)


def test_raw_weights_that_are_not_there() -> None:
    with pytest.raises(CheckpointError, match=r'holds an average and no raw weights \(its entries: model_ema\)'):
        load_weights(backbone(), {'model_ema': backbone().state_dict()}, use_ema=False)


def test_safetensors(tmp_path: Path) -> None:
    source, target = backbone(), backbone()
    save_file(source.state_dict(), tmp_path / 'weights.safetensors')
    load_weights(target, tmp_path / 'weights.safetensors')
    assert equal(source, target)


@pytest.mark.parametrize('channels', [1, 4])
def test_the_first_convolution_is_adapted(channels: int) -> None:
    source, target = backbone(), backbone(in_channels=channels)
    report = load_weights(target, source.state_dict())
    theirs, ours = source.patch_embed.proj.weight, target.patch_embed.proj.weight
    if channels == 1:
        torch.testing.assert_close(ours, theirs.sum(dim=1, keepdim=True))
    else:  # red, green, blue, red again, at three quarters: the sum over equal channels keeps its size
        torch.testing.assert_close(ours, 0.75 * theirs[:, [0, 1, 2, 0]])
    assert report.adapted == (f'patch_embed.proj.weight (3 to {channels} channels)',)


def test_fewer_stages_take_their_part() -> None:
    source, target = backbone(), backbone(out_indices=(0, 1))
    report = load_weights(target, source.state_dict())
    assert report.share == 1 and all(key.startswith(('stages.2', 'stages.3')) for key in report.unexpected)


def test_the_report_counts() -> None:
    weights = backbone().state_dict()
    total = len(weights)
    del weights['stages.3.norm.bias']
    weights['extra'] = torch.ones(1)
    report = load_weights(backbone(), weights)
    assert len(report.matched) == total - 1 and report.missing == ('stages.3.norm.bias',)
    assert report.unexpected == ('extra',) and not report.wrong_shape
    assert f'{total - 1} tensors matched, 1 missing, 1 unexpected, 0 of the wrong shape' in str(report)
    weights['stages.3.norm.weight'] = torch.ones(7)
    with pytest.raises(CheckpointError, match='1 tensors differ'):
        load_weights(backbone(), weights)
    report = load_weights(backbone(), weights, partial=True)
    assert report.wrong_shape == ('stages.3.norm.weight ((7,) in the checkpoint, (256,) in the model)',)


def test_another_number_of_classes_is_no_other_network() -> None:
    source, target = (timm.create_model('ss_pvt_v2_b0', num_classes=classes) for classes in (5, 7))
    report = load_weights(target, source.state_dict())
    assert [text.split(' ')[0] for text in report.wrong_shape] == ['head.weight', 'head.bias']


def test_a_classifier_of_timm_serves_the_backbone() -> None:
    source, target = timm.create_model('ss_pvt_v2_b0', num_classes=5), backbone()
    assert load_weights(target, source.state_dict()).unexpected == ('head.weight', 'head.bias')
    assert equal(target, source)


@pytest.fixture(scope='module')
def networks() -> dict[tuple[str, str], SSPVTv2]:
    return {
        (arch, settings): backbone(arch, settings=settings) for arch in ARCHS for settings in ('specific', 'uniform')
    }


@pytest.mark.parametrize('settings', ['specific', 'uniform'])
@pytest.mark.parametrize('arch', ARCHS)
def test_every_other_network_is_refused(arch: str, settings: str, networks: dict[tuple[str, str], SSPVTv2]) -> None:
    target = networks[arch, settings]
    assert load_weights(target, target.state_dict()).share == 1
    for other, source in networks.items():
        if other != (arch, settings):
            with pytest.raises(CheckpointError, match='Is the checkpoint of the same arch, settings and channels'):
                load_weights(target, source.state_dict())
                pytest.fail(f'{other} was loaded into {arch} {settings}')


def test_other_settings_of_the_same_shapes_are_refused() -> None:
    ramps = {scale: backbone(settings=[dict(pos_scale=scale)] * 8) for scale in (0, 1, 2)}
    for one, source in ramps.items():
        for other, target in ramps.items():
            if one != other:
                with pytest.raises(CheckpointError, match='tensors differ|no ramps|tensors more'):
                    load_weights(target, source.state_dict())
    load_weights(ramps[2], ramps[1].state_dict(), partial=True)
    assert ramps[2].stages[0].blocks[0].mlp.pos_bias[-1] == 2  # what the settings say stays
    half = {key: value.half() for key, value in ramps[2].state_dict().items()}
    assert load_weights(ramps[2], half).share == 1


def test_a_refusal_loads_nothing_and_partial_overrules_it() -> None:
    plain, target = backbone(settings='uniform'), backbone()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match='Nothing was loaded'):
        load_weights(target, plain.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    load_weights(target, plain.state_dict(), partial=True)
    assert torch.equal(target.patch_embed.proj.weight, plain.patch_embed.proj.weight)


def bad_files(folder: Path) -> dict[str, tuple[object, str]]:
    whole = folder / 'whole.pth'
    torch.save(backbone().state_dict(), whole)
    (folder / 'truncated.pth').write_bytes(whole.read_bytes()[:50_000])
    (folder / 'empty.pth').touch()
    (folder / 'text.pth').write_text('<html>404 Not Found</html>')
    (folder / 'truncated.safetensors').write_bytes(b'\x10\x00\x00\x00\x00\x00\x00\x00{"a"')
    torch.save([1, 2], folder / 'list.pth')
    torch.save(nn.Linear(2, 2), folder / 'network.pth')
    torch.save({'epoch': 3}, folder / 'bare.pth')
    torch.save(timm.create_model('resnet18').state_dict(), folder / 'other.pth')
    return {
        'truncated': (
            folder / 'truncated.pth',
            r'truncated.pth cannot be read as a checkpoint \(.*\). Is it truncated or damaged\?',
        ),
        'truncated safetensors': (folder / 'truncated.safetensors', 'cannot be read as a checkpoint'),
        'empty': (folder / 'empty.pth', r'empty.pth is empty \(0 bytes\)'),
        'a text': (folder / 'text.pth', 'text.pth is no checkpoint, is damaged'),
        'a list': (folder / 'list.pth', 'list.pth holds a list, not a checkpoint'),
        'no tensors': (folder / 'bare.pth', 'bare.pth holds no tensors .its entries: epoch'),
        'another network': (folder / 'other.pth', r'0 tensors matched(.|\n)*Nothing was loaded'),
        'a directory': (folder, 'is a directory. Give a checkpoint file in it: bare.pth, empty.pth, list.pth'),
        'missing': (folder / 'no.pth', 'no.pth does not exist'),
        'a pickled network': (folder / 'network.pth', r'not safe to load \(unsupported global: GLOBAL torch.nn'),
        'another scheme': ('s3://bucket/a.pth', 'neither a file nor an http'),
        'a number': (3, 'must be a path, an address or a mapping, not int'),
        'no name': ('', 'The checkpoint is an empty text'),
        'an empty mapping': ({}, 'the given mapping holds no tensors'),
        'another arch': (SSPVTv2('b1').state_dict(), r'of the wrong shape(.|\n)*Is the checkpoint of the same arch'),
    }


def test_bad_checkpoints(tmp_path: Path) -> None:
    target = backbone()
    for name, (source, text) in bad_files(tmp_path).items():
        with pytest.raises(CheckpointError, match=text):
            load_weights(target, source)
            pytest.fail(f'{name} was loaded')


def test_a_wrong_prefix_names_the_right_ones() -> None:
    weights = {f'backbone.{key}': value for key, value in backbone().state_dict().items()}
    with pytest.raises(CheckpointError, match=r"nothing under prefix='encoder.'; its keys start with backbone."):
        load_weights(backbone(), weights, prefix='encoder')
    target = backbone()
    assert load_weights(target, weights, prefix='backbone').share == 1


class _Detector(BaseModule):
    def __init__(self, init_cfg: object) -> None:
        super().__init__()
        self.backbone = backbone(init_cfg=init_cfg)


def test_init_cfg_loads_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, file = backbone(), tmp_path / 'detector.pth'
    torch.save({'state_dict': {f'backbone.{key}': value for key, value in source.state_dict().items()}}, file)
    detector = _Detector(dict(type='Pretrained', checkpoint=str(file), prefix='backbone.'))
    assert not equal(source, detector.backbone)
    detector.init_weights()
    assert equal(source, detector.backbone)


@pytest.mark.parametrize(
    ('init_cfg', 'text'),
    [
        (dict(checkpoint=''), r'its checkpoint is .*--cfg-options model.backbone.init_cfg=None'),
        (dict(checkpoint=None), 'its checkpoint is None'),
        (dict(checkpoint='FILE', prefix='neck.'), "nothing under prefix='neck.'"),
        (dict(checkpoint='FILE', perfix='backbone.'), r"unknown keys \['perfix'\]"),
        (dict(checkpoint='nowhere.pth'), 'nowhere.pth does not exist'),
        (dict(checkpoint='', type='mmengine.Pretrained'), 'its checkpoint is'),
    ],
)
def test_init_cfg_refuses_in_words(init_cfg: dict, text: str, tmp_path: Path) -> None:
    file = tmp_path / 'weights.pth'
    torch.save({f'backbone.{key}': value for key, value in backbone().state_dict().items()}, file)
    if init_cfg.get('checkpoint') == 'FILE':
        init_cfg = {**init_cfg, 'checkpoint': str(file)}
    with pytest.raises(CheckpointError, match=text):
        _Detector({'type': 'Pretrained', **init_cfg}).init_weights()


@pytest.mark.parametrize('init_cfg', ['weights.pth', ['weights.pth'], dict(checkpoint='weights.pth')])
def test_init_cfg_of_another_kind(init_cfg: object) -> None:
    with pytest.raises(ValueError, match='init_cfg must be a dict with a type'):
        backbone(init_cfg=init_cfg)


def test_a_refusal_is_repeated_by_the_next_call() -> None:
    model = backbone(init_cfg=dict(type='Pretrained', checkpoint=''))
    for _ in range(2):
        with pytest.raises(CheckpointError, match='its checkpoint is'):
            model.init_weights()


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_addresses_are_downloaded_once_and_read_as_safely_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    source = backbone()
    served = tmp_path / 'served'
    served.mkdir()
    torch.save({'model': source.state_dict(), 'args': argparse.Namespace(lr=1)}, served / 'good.pth')
    torch.save({'model': _Evil(tmp_path / 'ran')}, served / 'evil.pth')
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(SimpleHTTPRequestHandler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    try:
        model = backbone(init_cfg=pretrained(f'{address}/good.pth'))
        model.init_weights()
        assert equal(source, model)
        for read in (lambda at: load_weights(backbone(), at), lambda at: _Detector(pretrained(at)).init_weights()):
            with pytest.raises(CheckpointError, match='not safe to load'):
                read(f'{address}/evil.pth')
            with pytest.raises(CheckpointError, match='cannot be downloaded .HTTP Error 404'):
                read(f'{address}/none.pth')
        assert not (tmp_path / 'ran').exists()
    finally:
        server.shutdown()
        server.server_close()
    load_weights(backbone(), f'{address}/good.pth')  # the kept file; the server is gone


def pretrained(checkpoint: str) -> dict[str, str]:
    return dict(type='Pretrained', checkpoint=checkpoint)


def test_other_init_cfgs_still_work() -> None:
    model = backbone(init_cfg=[dict(type='Constant', layer='Linear', val=0.5)])
    model.init_weights()
    assert (model.stages[0].blocks[0].mlp.fc1.weight == 0.5).all()
