"""Networks as ONNX files: what onnxruntime makes of them is held against torch, here and not by the tool."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from installed import needs_new_export
from tool_call import call_command
from torch import Tensor, nn

from ss_backbones import SSPVTv2, SSSwin, SSViT

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

PVT = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), sr_ratios=(4, 2), mlp_ratios=(2, 2))
SETTINGS = [dict(pos_scale=1.0), dict(attn_split=0.25, mlp_split=0.5), dict(act='ReLU', attn_ratio=0.5)]
MIXERS = [dict(mixer='conv3x3', hidden=19), dict(mixer='conv1x1'), {}, dict(mixer='skip')]
VIT = dict(embed_dim=32, depth=4, num_heads=2)  # of four blocks the rule splits the tokens of the last
SWIN = dict(embed_dim=8, depths=(1, 3), num_heads=(1, 2))  # of four blocks, of which one is shifted
TYPES = {'SSPVTv2': SSPVTv2, 'SSSwin': SSSwin, 'SSViT': SSViT}

Run = Callable[..., tuple[int, str]]


def pvt(**arguments: object) -> dict[str, object]:
    return dict(type='SSPVTv2', arch=PVT, out_indices=(0, 1)) | arguments


def vit(**arguments: object) -> dict[str, object]:
    return dict(type='SSViT', arch=VIT, img_size=64) | arguments


def swin(**arguments: object) -> dict[str, object]:
    return dict(type='SSSwin', arch=SWIN, window_size=4, out_indices=(0, 1)) | arguments


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: call_command('export', arguments, capsys)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., tuple[Path, Path, nn.Module]]:
    def write(backbone: dict[str, object]) -> tuple[Path, Path, nn.Module]:
        """A detector's config, a checkpoint of the detector, and its backbone."""
        config = tmp_path / 'config.py'
        config.write_text(f"default_scope = 'mmdet'\nmodel = dict(type='MaskRCNN', backbone={backbone!r})\n")
        arguments = dict(backbone)
        network = TYPES[arguments.pop('type')](**arguments).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        state = {f'backbone.{key}': value for key, value in network.state_dict().items()}
        torch.save({'state_dict': state | {'neck.weight': torch.ones(1)}, 'meta': {}}, tmp_path / 'detector.pth')
        return config, tmp_path / 'detector.pth', network

    return write


def assert_same(file: Path, network: nn.Module, *shapes: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    for shape in shapes:
        images = torch.randn(*shape)
        with torch.no_grad():
            expected = network(images)
        expected = [expected] if isinstance(expected, Tensor) else expected
        found = session.run(None, {'image': images.numpy()})
        for ours, theirs in zip(expected, found, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)


@needs_new_export
@pytest.mark.parametrize(
    ('backbone', 'least'),
    [
        (pvt(settings=SETTINGS), 13),  # 4 x 4 tokens for the kernel of the first stage
        (pvt(arch={**PVT, 'linear': True}), 1),
        (pvt(settings=SETTINGS, linear_stages=0), 9),  # 2 x 2 tokens for the kernel of the second
        (vit(), 1),
        (vit(linear_blocks=(0, 1, 3)), 1),
        (vit(settings=MIXERS), 1),
        (vit(settings=MIXERS, fused=True, class_token=False), 1),
        (swin(settings=[*MIXERS[:2], dict(mixer='skip'), MIXERS[0]]), 1),
    ],
    ids=[
        'pvt',
        'linear',
        'linear attention',
        'vit',
        'vit with linear attention',
        'vit mixers',
        'vit fused mixers',
        'swin without attention',
    ],
)
def test_any_image_size(backbone: dict[str, object], least: int, run: Run, small: Callable, tmp_path: Path) -> None:
    config, checkpoint, network = small(backbone)
    out = tmp_path / 'out.onnx'
    code, said = run(config, out, '--checkpoint', checkpoint, '--dynamic', '--shape', '1x96x64')
    assert code == 0, said
    assert 'without neck and heads' in said and '0 missing' in said and f'from {least} up' in said
    assert 'at 1x3x96x64, 2x3x49x33, 1x3' in said and 'batches' not in said
    assert_same(out, network, (1, 3, 96, 64), (3, 3, 77, 133), (1, 3, 31, 18), (2, 3, least, least))
    assert [entry.name for entry in tmp_path.iterdir() if 'onnx' in entry.name] == ['out.onnx']


@pytest.mark.parametrize(
    'backbone',
    [
        pvt(settings='uniform', bf16=True, with_cp=True, frozen_stages=1),
        vit(window_size=2, settings='uniform', pyramid=False, out_indices=(0, 3), class_token=False),
        swin(),
        pytest.param(swin(settings=MIXERS), marks=needs_new_export),
    ],
    ids=['uniform', 'windows', 'shifted windows', 'swin mixers'],
)
def test_one_image_size(backbone: dict[str, object], run: Run, small: Callable, tmp_path: Path) -> None:
    config, checkpoint, network = small(backbone)
    network.bf16 = False
    out = tmp_path / 'out.onnx'
    code, said = run(config, out, '--checkpoint', checkpoint, '--shape', '2x50x90', '--opset', 21)
    assert code == 0, said
    assert ('bf16=True is left out' in said) == ('bf16' in backbone)
    assert 'at 2x3x50x90 (2 batches): ' in said
    assert_same(out, network, (2, 3, 50, 90))
    model = onnx.load(out)
    assert model.opset_import[0].version == 21
    assert [node.name for node in model.graph.output] == ['map_0', 'map_1']
    assert str(Path.cwd()) not in str(model)  # torch notes where each node comes from
    with pytest.raises(Exception, match='invalid dimensions'):
        assert_same(out, network, (2, 3, 50, 91))


def test_classifiers(run: Run, tmp_path: Path) -> None:
    teacher = timm.create_model('ss_pvt_v2_b0', num_classes=5).eval()
    torch.save({'model': teacher.state_dict()}, tmp_path / 'weights.pth')
    out = tmp_path / 'out.onnx'
    arguments = ('--checkpoint', tmp_path / 'weights.pth', '--shape', '2x40x40')
    code, said = run('ss_pvt_v2_b0', out, *arguments)
    assert code == 2 and 'the rest would be random' in said and 'give --num-classes 5\n' in said and not out.exists()
    code, said = run('ss_pvt_v2_b0', out, *arguments, '--num-classes', 5)
    assert code == 0, said
    assert_same(out, teacher, (2, 3, 40, 40))
    assert onnx.load(out).graph.output[0].name == 'logits'

    config = tmp_path / 'classifier.py'
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    config.write_text(f"model = dict(backbone=dict(name='ss_pvt_v2_b0', num_classes=5), init_cfg={init_cfg!r})\n")
    maps = tmp_path / 'maps.onnx'
    code, said = run(config, maps, '--features', '--shape', '1x32x64')
    assert code == 0 and 'maps' in said and 'RANDOM' not in said, said
    features = timm.create_model('ss_pvt_v2_b0', features_only=True).eval()
    features.load_state_dict(teacher.state_dict())
    assert_same(maps, features, (1, 3, 32, 64))


def test_an_existing_file_is_left_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('ss_backbones.deploy.onnx.exporting.to_onnx', lambda *_, **__: pytest.fail('too early'))
    out = tmp_path / 'out.onnx'
    out.write_text('mine')
    code, said = run('ss_pvt_v2_b0', out)
    assert code == 2 and 'never written over' in said and out.read_text() == 'mine'


def test_a_folder_that_cannot_be_written_to_is_found_out_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr('ss_backbones.output_files.NamedTemporaryFile', read_only)  # root may write anywhere
    monkeypatch.setattr('ss_backbones.deploy.onnx.network.choose', lambda *_, **__: pytest.fail('not before the work'))
    code, said = run('ss_pvt_v2_b0', tmp_path / 'out.onnx')
    assert code == 2 and 'out.onnx cannot be written (Read-only file system)' in said
    monkeypatch.undo()
    for name in (f'{"o" * 245}.onnx', f'{"o" * 300}.onnx'):
        monkeypatch.setattr('ss_backbones.deploy.onnx.network.choose', lambda *_, **__: pytest.fail('not before'))
        code, said = run('ss_pvt_v2_b0', tmp_path / name)
        assert code == 2 and 'cannot be written' in said
    assert not list(tmp_path.iterdir())


def test_an_opset_that_torch_does_not_write(
    run: Run, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = onnx.defs.onnx_opset_version()
    code, said = run(small(pvt(out_indices=0))[0], tmp_path / 'out.onnx', '--opset', newest, '--shape', '1x32x32')
    if not code:
        pytest.skip('torch writes the newest that onnx knows')
    assert f'--opset {newest} cannot be written; torch wrote' in said
    assert not [record for record in caplog.records if record.levelname == 'WARNING']


def test_advice_on_weights(run: Run, tmp_path: Path) -> None:
    new, given = tmp_path / 'out.onnx', tmp_path / 'weights.pth'
    pvt_v2 = timm.create_model('pvt_v2_b0', num_classes=7)
    headless = {
        'ss_vit_tiny_patch16_224': timm.create_model('ss_vit_tiny_patch16_224', num_classes=0).state_dict(),
        'ss_pvt_v2_b0': SSPVTv2('b0').state_dict(),
    }
    for name, state in headless.items():
        torch.save(state, given)
        code, said = run(name, new, '--checkpoint', given)
        assert code == 2 and 'It has no head. Give --features for the maps' in said and '--num-classes' not in said
    code, said = run('ss_pvt_v2_b0', new, '--checkpoint', given, '--num-classes', 0, '--shape', '1x32x32')
    assert code == 0 and 'the features of ss_pvt' in said and 'logits' not in said, said
    new.unlink()

    torch.save(pvt_v2.state_dict(), given)
    for name, advice in (
        ('ss_pvt_v2_b0', 'give --settings uniform\n'),
        ('ss_pvt_v2_b1', 'give ss_pvt_v2_b0 --settings uniform\n'),
    ):
        code, said = run(name, new, '--checkpoint', given)
        assert code == 2 and 'Nothing was loaded' in said and 'partial=True' not in said
        assert said.endswith(f"It is one of ss_pvt_v2_b0 (settings='uniform', 7 classes): {advice}")
    code, said = run('ss_pvt_v2_b0', new, '--checkpoint', given, '--settings', 'uniform')
    assert code == 2 and said.endswith('Its head has 7 classes: give --num-classes 7\n')

    torch.save({'nothing.weight': torch.ones(1)}, given)
    code, said = run('ss_pvt_v2_b0', new, '--checkpoint', given)
    assert code == 2 and said.endswith('settings and channels?\n') and not new.exists()


def times(factor: float) -> bytes:
    """An ONNX file that multiplies by a number."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    image, map_0 = (helper.make_tensor_value_info(n, kind, [None, 3, None, None]) for n in ('image', 'map_0'))
    constant = helper.make_tensor('factor', kind, [], [factor])
    graph = helper.make_graph(
        [helper.make_node('Mul', ['image', 'factor'], ['map_0'])], 'g', [image], [map_0], [constant]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10).SerializeToString()


def test_the_check() -> None:
    from ss_backbones.deploy.onnx.check import greatest_difference
    from ss_backbones.errors import ExportError

    shapes = [(1, 3, 4, 4), (2, 3, 5, 3)]
    assert greatest_difference(times(1), nn.Identity(), shapes) == 0
    assert 2e-5 < greatest_difference(times(1 + 5e-5), nn.Identity(), shapes) < 6e-5
    for factor in (1 + 2e-4, float('nan')):
        with pytest.raises(ExportError, match='Output 0 at 1x3x4x4 differs'):
            greatest_difference(times(factor), nn.Identity(), shapes)
    for number in ('nan', 'inf'):
        broken = nn.Conv2d(3, 3, 1, groups=3)
        nn.init.constant_(broken.bias, float(number))
        with pytest.raises(ExportError, match=r'The network itself.* gives NaN or infinite .*\(output 0 at 1x3x4x4\)'):
            greatest_difference(times(float(number)), broken, shapes)
    with pytest.raises(ExportError, match='Output 0 at 1x3x4x4 is 1x3x4x4, and the network gives 1x48'):
        greatest_difference(times(1), nn.Flatten(), shapes)
    with pytest.raises(ExportError, match='cannot load'):
        greatest_difference(b'nothing', nn.Identity(), shapes)
    with pytest.raises(ExportError, match='memory is too small for images of 99999x3x99999x4096'):
        greatest_difference(times(1), nn.Identity(), [(99999, 3, 99999, 4096)])


def test_a_file_that_fails_the_check_is_not_written(
    run: Run, small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('ss_backbones.deploy.onnx.exporting.to_onnx', lambda *_, **__: times(2))
    config = small(pvt(out_indices=0))[0]
    code, said = run(config, tmp_path / 'out.onnx')
    assert code == 2 and 'RANDOM' in said and 'and the network gives' in said
    assert not list(tmp_path.glob('*onnx*'))


@pytest.mark.parametrize('module', ['onnx', 'onnxscript', 'onnxruntime'])
def test_a_missing_package(module: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ss_backbones.commands import export

    found = export.find_spec
    monkeypatch.setattr(export, 'find_spec', lambda name: None if name == module else found(name))
    code, said = run('ss_pvt_v2_b0', tmp_path / 'out.onnx')
    assert code == 2 and said.count('\n') == 1
    assert said.startswith(f'ss-backbones export: {module} cannot be found')
    assert 'pip install "ss-backbones[export]"' in said


@pytest.mark.parametrize(
    ('backbone', 'arguments', 'text'),
    [
        (vit(window_size=2), ['--dynamic'], 'attention in windows (window_size=2)'),
        (swin(), ['--dynamic'], 'attention in windows (window_size=(4, 4))'),
        (pvt(settings=[dict(), dict(attn_split=0.3), dict()]), ['--dynamic'], 'attn_split=0.3'),
        (pvt(), ['--dynamic', '--shape', '1x9x64'], 'from 13 x 13 pixels up, not 9 x 64'),
        (pvt(), ['--features'], '--features and --num-classes are for classifiers'),
        (pvt(), ['--settings', 'uniform'], '--settings is for timm names'),
        (pvt(), ['--opset', '17'], 'torch exports 18 and newer'),
        (pvt(), ['--opset', '99'], 'take one from 18 on'),
        (pvt(), ['--shape', '99999x4096x4096'], 'images of 99999x3x4096x4096, which take 18,749.8 GiB'),
        (pvt(), ['--shape', '9999999999x9999999999x9999999999'], 'The memory is too small'),
        (pvt(), ['--shape', f'1x1x{2**70}'], 'The memory is too small'),
        (vit(window_size=2), ['--dynamic', '--checkpoint', 'no.pth'], 'attention in windows'),  # found out first
        (pvt(), ['--shape', '224x224'], "'224x224' is no BxHxW"),
        (pvt(), ['--shape', '1x0x224'], 'all three must be at least 1'),
        (pvt(), ['--checkpoint', 'no.pth'], 'no.pth does not exist'),
        (pvt(depth=3), [], 'SSPVTv2 has no argument depth'),
        (dict(type='ResNet', depth=50), [], 'only backbones of this package are exported'),
        (dict(name='resnet18'), [], 'no model of this package'),
        (dict(name='ss_pvt_v2_b0', nothing=1), [], 'SSPVTv2Classifier has no argument nothing'),
    ],
)
def test_refusals(backbone: dict[str, object], arguments: list[str], text: str, run: Run, tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    config.write_text(f"default_scope = 'mmdet'\nmodel = dict(backbone={backbone!r})\n")
    code, said = run(config, tmp_path / 'out.onnx', *arguments)
    assert code == 2 and text in said and 'Traceback' not in said, said
    assert not (tmp_path / 'out.onnx').exists()


def test_more_refusals(run: Run, tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    config.write_text('model = dict()\n')
    new = tmp_path / 'out.onnx'
    for arguments, text in (
        (('ss_pvt_v9', new), 'neither a config file (.py) nor a timm model of this package: ss_pvt_v2_b0'),
        (('pvt_v2_b0', new), 'neither'),
        (('nowhere.py', new), 'there is no config file nowhere.py'),
        ((config, new), 'has no model.backbone'),
        (('ss_pvt_v2_b0', tmp_path / 'out.pth'), 'does not end in .onnx'),
        (('ss_pvt_v2_b0', tmp_path / 'none' / 'out.onnx'), 'there is no folder'),
        (('ss_pvt_v2_b0', new, '--features', '--num-classes', 5), 'leave one of them out'),
        (('ss_pvt_v2_b0', new, '--num-classes', -1), 'num_classes=-1'),
    ):
        code, said = run(*arguments)
        assert code == 2 and text in said, said
    assert not new.exists()
