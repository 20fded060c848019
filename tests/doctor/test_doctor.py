"""Each known trouble is found and has its cure; a check that fails stops no other; the exit code tells."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import timm  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from tiny_data import write_coco  # noqa: E402
from tool_call import call_command  # noqa: E402

from ss_backbones import doctor  # noqa: E402
from ss_backbones.doctor import (  # noqa: E402
    Check,
    Finding,
    Level,
    Problem,
    config_checks,
    examine,
    machine,
    package_checks,
    packages,
)
from ss_backbones.doctor.troubles import cure_of, installed, torchvision_for  # noqa: E402
from ss_backbones.environment import OLDEST  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py')


def found(name: str) -> Finding:
    return examine(next(check for check in package_checks() if check.name == name))


def without(*modules: str) -> Callable[[pytest.MonkeyPatch], None]:
    def make(monkeypatch: pytest.MonkeyPatch) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return make


def version(module: object, text: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(module, '__version__', text)


def distributions(**versions: str) -> Callable[[pytest.MonkeyPatch], None]:
    """These alone are installed, as far as pip knows."""
    known = {name.replace('_', '-'): text for name, text in versions.items()}
    return lambda monkeypatch: monkeypatch.setattr(
        packages, 'installed', lambda *names: {name: known[name] for name in names if name in known}
    )


def import_fails(name: str, error: BaseException) -> Callable[[pytest.MonkeyPatch], None]:
    real = importlib.import_module

    def fails(module: str, package: str | None = None) -> object:
        if module == name:
            raise error
        return real(module, package)

    return lambda monkeypatch: monkeypatch.setattr(packages.importlib, 'import_module', fails)


def child(script: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(packages, 'OPERATORS', script)


TOO_NEW = AssertionError('MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.')
FAULTS = [
    ('torch', without('torch'), 'failed', 'is not installed', 'pip install torch'),
    ('torch', version(torch, '2.5.1'), 'failed', '2.5.1', '"torch>=2.6"'),
    ('torchvision', version(torchvision, '0.19.1'), 'failed', '0.19.1 is not the one for torch', '"torchvision==0.'),
    ('numpy', import_fails('pycocotools.mask', ValueError('numpy.dtype size changed')), 'failed', 'size', '"numpy<2"'),
    ('timm', version(timm, '0.9.16'), 'failed', '0.9.16', '"timm>=1.0.16"'),
    ('opencv', without('cv2'), 'failed', 'is not installed', 'pip install opencv-python-headless'),
    (
        'opencv',
        distributions(opencv_python='4.9', opencv_python_headless='4.8'),
        'warning',
        'opencv-python 4.9, opencv-python-headless 4.8: all of them write to',
        'pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python-headless',
    ),
    (
        'forks',
        distributions(mmcv='2.1.0', onedl_mmcv='2.3.6'),
        'failed',
        'mmcv 2.1.0 and onedl-mmcv 2.3.6 both write to the folder mmcv',
        'pip uninstall -y mmcv onedl-mmcv; pip install onedl-mmcv==2.3.6',
    ),
    ('forks', distributions(onedl_mmcv='2.3.6', mmdet='3.3.0'), 'warning', 'some are maintained forks', 'one house'),
    ('mmengine', without('pkg_resources'), 'failed', "No module named 'pkg_resources'", '"setuptools<81"'),
    ('mmengine', without('mmengine'), 'failed', 'without it mmdet and mmseg cannot', 'pip install mmengine==0.10.7'),
    ('mmcv', without('mmcv'), 'failed', 'is not installed', 'pip install mmcv==2.1.0'),
    ('mmcv', distributions(mmcv_lite='2.1.0'), 'failed', 'mmcv-lite 2.1.0 has no operators', 'CFLAGS=-g0 pip install'),
    ('mmdet', import_fails('mmdet', TOO_NEW), 'failed', 'MMCV==2.2.0', 'pip install --no-build-isolation mmcv==2.1.0'),
    ('mmdet', without('mmdet'), 'warning', 'is not installed, so detectors do not work', 'pip install mmdet==3.3.0'),
    ('mmseg', import_fails('mmseg', ImportError("No module named 'ftfy'")), 'failed', 'ftfy', 'pip install ftfy regex'),
    ('mmseg', import_fails('mmseg', SystemExit(3)), 'failed', 'SystemExit: 3', ''),
    (
        'operators',
        child('raise ImportError("No module named \'mmcv._ext\'")'),
        'failed',
        '_ext',
        'CFLAGS=-g0 pip install',
    ),
    (
        'operators',
        child('import os; os.kill(os.getpid(), 11)'),
        'failed',
        'end the process (signal 11)',
        'another torch',
    ),
    ('openmmlab', without('mmengine', 'mmcv', 'mmdet', 'mmseg'), 'warning', 'the timm models work', 'Install them'),
]


@pytest.mark.parametrize(
    ('name', 'make', 'level', 'said', 'cure'), FAULTS, ids=[f'{fault[0]}-{fault[3][:20]}' for fault in FAULTS]
)
def test_a_trouble_is_found_with_its_cure(
    name: str, make: Callable, level: str, said: str, cure: str, monkeypatch: pytest.MonkeyPatch
):
    if 'setuptools' in cure and installed('onedl-mmengine'):
        pytest.skip('the fork of mmengine imports no pkg_resources')
    if name not in ('openmmlab', 'operators'):
        assert found(name).level is Level.OK  # nothing is wrong yet
    make(monkeypatch)
    finding = found(name)
    assert (finding.level.value, said in finding.text, cure in finding.cure) == (level, True, True), finding


def test_the_oldest_versions_are_those_of_the_package_and_of_the_oldest_stack():
    root = Path(__file__).resolve().parents[2]
    declared = (root / 'pyproject.toml').read_text()
    pinned = (root / 'environment/stacks/oldest/pyproject.toml').read_text()
    for module, oldest in OLDEST.items():
        assert f'"{module}>={oldest}"' in declared and re.search(rf'"{module}=={re.escape(oldest)}(\.0)?"', pinned)


def test_the_forks_are_as_good(monkeypatch: pytest.MonkeyPatch):
    names = dict(onedl_mmcv='2.3.6', onedl_mmengine='0.10.12', onedl_mmdetection='3.5.1')
    distributions(**names, onedl_mmsegmentation='1.4.2')(monkeypatch)
    without('pkg_resources')(monkeypatch)  # which their mmengine does without
    assert [found(name).level for name in ('forks', 'mmengine', 'mmcv', 'mmdet', 'mmseg')] == [Level.OK] * 5
    assert 'onedl-mmdetection 3.5.1' in found('forks').text
    monkeypatch.setattr('ss_backbones.doctor.troubles.installed', lambda name: {name: '2.3.6'})
    assert cure_of("No module named 'mmcv._ext'").endswith(' onedl-mmcv==2.3.6')


@pytest.mark.parametrize(
    ('said', 'cure'),
    [
        ("No module named 'mmcv._ext'", 'without its operators'),
        ('mmcv/_ext.cpython-311.so: undefined symbol: _ZN2at4_ops', 'compiled for another torch'),
        ('libGL.so.1: cannot open shared object file', 'pip install opencv-python-headless'),
        ('RuntimeError: Numpy is not available', 'numpy<2'),
        ('operator torchvision::nms does not exist', 'torchvision is for another torch'),
        ('CUDA error: no kernel image is available for execution on the device', 'TORCH_CUDA_ARCH_LIST'),
        ('roi_align_forward_impl: implementation for device cuda:0 not found.', 'FORCE_CUDA=1'),
        ('Weights only load failed ... Unsupported global: GLOBAL mmengine', "custom_imports = dict(imports=['ss_"),
        ("KeyError: 'SSPVTv2 is already registered in model'", 'only one of them'),
        ('SSPVTv2 is not in the mmdet::model registry', "custom_imports = dict(imports=['ss_backbones'])"),
        ("No module named 'scipy.optimize'", 'pip install scipy'),
        ('something else', ''),
    ],
)
def test_cures(said: str, cure: str):
    assert cure in cure_of(said) and bool(cure_of(said)) == bool(cure)


def test_the_torchvision_of_a_torch():
    assert [torchvision_for(torch) for torch in ('2.6.0', '2.11.0+cpu')] == [
        'pip install "torchvision==0.21.*"',
        'pip install "torchvision==0.26.*"',
    ]


# ---- the machine


class FakeGpu:
    """A GPU of compute capability 9.0, for a torch that says what it has code for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, known: list[str], seen: bool = True) -> None:
        values = dict(is_available=seen, device_count=1, get_device_capability=(9, 0), get_device_name='GPU')
        for name, value in {**values, 'get_arch_list': known}.items():
            monkeypatch.setattr(torch.cuda, name, lambda *arguments, value=value: value)
        monkeypatch.setattr(machine.shutil, 'which', lambda name: f'/usr/bin/{name}')


def test_gpus_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch):
    FakeGpu(monkeypatch, ['sm_75', 'sm_86'])
    finding = examine(Check('gpu', machine.gpu))
    assert finding.level is Level.FAILED and finding.text == 'GPU (sm_90): torch has code for sm_75, sm_86 only'
    FakeGpu(monkeypatch, [], seen=False)
    monkeypatch.setattr(torch.version, 'cuda', None)
    finding = examine(Check('gpu', machine.gpu))
    assert finding.level is Level.WARNING and 'torch is without CUDA' in finding.text
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert 'torch has CUDA 13.0, and sees no GPU' in examine(Check('gpu', machine.gpu)).text
    monkeypatch.setattr(machine.shutil, 'which', lambda name: None)
    assert examine(Check('gpu', machine.gpu)) == Finding('gpu', Level.OK, 'none')


def test_shared_memory_that_is_too_small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.os, 'statvfs', lambda place: SimpleNamespace(f_bavail=2**14, f_frsize=2**12))
    finding = examine(Check('memory', machine.shared_memory))
    assert finding.level is Level.WARNING and '0.1 GiB free' in finding.text and '--shm-size' in finding.cure


def test_products_that_are_wrong(monkeypatch: pytest.MonkeyPatch):
    assert examine(Check('bfloat16', machine.bfloat16)) == Finding('bfloat16', Level.OK, 'works on cpu')
    monkeypatch.setattr(torch, 'allclose', lambda *arguments, **options: False)
    assert examine(Check('bfloat16', machine.bfloat16)).text == 'wrong on cpu'


# ---- the command


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *looks: Callable[[], str]
) -> tuple[int, str]:
    checks = [Check(f'check {number}', look) for number, look in enumerate(looks)]
    monkeypatch.setattr(doctor, 'package_checks', lambda: checks)
    for name in ('machine_checks', 'own_checks'):
        monkeypatch.setattr(doctor, name, lambda: [])
    return call_command('doctor', [], capsys)


def fail(error: BaseException) -> Callable[[], str]:
    def look() -> str:
        raise error

    return look


def test_the_exit_code_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    warning = fail(Problem('so so', 'do this', Level.WARNING))
    assert call(monkeypatch, capsys, lambda: '1.0') == (0, 'ok      check 0          1.0\n1 checks: all is right.\n')
    code, said = call(monkeypatch, capsys, warning, lambda: 'fine')
    assert code == 0 and said.splitlines() == [
        'warning check 0          so so',
        '                   cure: do this',
        'ok      check 1          fine',
        '2 checks: 1 warning.',
    ]
    code, said = call(monkeypatch, capsys, fail(SystemExit('out')), fail(ZeroDivisionError('a\nb')), lambda: 'fine')
    assert code == 1 and said.splitlines() == [
        'failed  check 0          SystemExit: out',
        'failed  check 1          ZeroDivisionError: a b',
        'ok      check 2          fine',
        '3 checks: 2 failed.',
    ]
    assert call_command('doctor', ['--cfg-options', 'a=1'], capsys)[0] == 2


def test_without_openmmlab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    without('mmengine', 'mmcv', 'mmdet', 'mmseg')(monkeypatch)
    code, said = call_command('doctor', [], capsys)
    assert code == 0 and 'none of mmengine, mmcv, mmdet and mmsegmentation is installed' in said, said
    assert '\nok      timm models ' in said and 'registry' not in said
    code, said = call_command('doctor', [CONFIG], capsys)
    assert code == 1 and '\nfailed  config  ' in said and 'Traceback' not in said, said


def test_here(capsys: pytest.CaptureFixture[str]):
    code, said = call_command('doctor', [], capsys)
    assert code == 0 and 'failed' not in said, said
    for line in (
        'operators        RoIAlign and NMS work on cpu',
        'registry (mmdet)',
        'registry (mmseg)',
        'configs (mmseg)',
    ):
        assert f'\nok      {line}' in said, said


# ---- a config


@pytest.fixture
def options(tmp_path: Path) -> dict:
    """For CONFIG, with data of its 80 classes, of which there are few images."""
    from mmdet.datasets import CocoDataset

    write_coco(tmp_path / 'set', CocoDataset.METAINFO['classes'], 2)
    given = {'model.backbone.init_cfg': None, 'val_evaluator.ann_file': f'{tmp_path}/set/annotations.json'}
    for loop in ('train', 'val'):
        given |= {
            f'{loop}_dataloader.dataset.data_root': str(tmp_path / 'set'),
            f'{loop}_dataloader.dataset.ann_file': 'annotations.json',
            f'{loop}_dataloader.dataset.data_prefix.img': 'images',
        }
    return given


def look(options: dict) -> list[Finding]:
    return [examine(part) if isinstance(part, Check) else part for part in config_checks(CONFIG, options)]


def faults(options: dict) -> dict[str, str]:
    return {finding.name: finding.text for finding in look(options) if finding.level is not Level.OK}


def test_a_config_whose_data_and_weights_are_right(options: dict, tmp_path: Path):
    network = timm.create_model('ss_pvt_v2_b0', num_classes=10, ramp='bias')
    torch.save(network.state_dict(), tmp_path / 'b0.pth')
    weights = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'b0.pth')}
    findings = {finding.name: finding for finding in look(options | {'model.backbone.init_cfg': weights})}
    assert not [finding for finding in findings.values() if finding.level is not Level.OK]
    assert findings['weights'].text.endswith('b0.pth: fits the backbone')
    assert findings['data (train)'].text.startswith('2 images, nothing wrong with their files (in ')
    assert sorted(path.name for path in (tmp_path / 'set').iterdir()) == ['annotations.json', 'images']


def test_what_is_wrong_with_a_config(options: dict, tmp_path: Path):
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04')
    torch.save({'a': torch.ones(1)}, tmp_path / 'other.pth')
    pretrained = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'none.pth')}
    wrong = options | {'model.backbone.init_cfg': pretrained, 'load_from': str(tmp_path / 'cut.pth')}
    wrong['model.neck.in_channels'] = [1, 2, 3, 4]
    said = faults(wrong)
    assert set(said) == {'model', 'weights', 'load_from'}
    assert 'the parts of the model do not fit' in said['model'] and 'none.pth does not exist' in said['weights']
    assert 'cut.pth cannot be read as a checkpoint' in said['load_from']
    said = faults(options | {'load_from': str(tmp_path / 'other.pth')})
    assert list(said) == ['load_from'] and 'is of another model than the config' in said['load_from']


def test_data_of_a_config_that_are_wrong(options: dict, tmp_path: Path):
    (tmp_path / 'set/images/2.png').write_bytes(b'')
    said = faults(options)
    assert set(said) == {'data (train)', 'data (val)'} and '2.png: is an empty file' in said['data (train)']
    content = json.loads((tmp_path / 'set/annotations.json').read_text())
    content['annotations'][0]['bbox'] = [1, 2, 3]
    (tmp_path / 'set/annotations.json').write_text(json.dumps(content))
    assert 'bbox is [1, 2, 3]' in faults(options)['data (train)']
    (tmp_path / 'set/annotations.json').unlink()
    findings = [finding for finding in look(options) if finding.level is not Level.OK]
    assert [finding.name for finding in findings] == ['data'] * 3
    assert f'{tmp_path}/set/annotations.json does not exist' in findings[0].text
    assert findings[0].cure.endswith('--cfg-options train_dataloader.dataset.ann_file=PATH')


def test_a_config_that_is_none(tmp_path: Path):
    [finding] = [examine(part) if isinstance(part, Check) else part for part in config_checks('nowhere.py', {})]
    assert finding.level is Level.FAILED and 'there is no config file nowhere.py' in finding.text
