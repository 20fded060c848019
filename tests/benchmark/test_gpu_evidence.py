"""tools/gpu_evidence.sh on the CPU, so that no minute on a GPU goes into a typo; and the checks that it makes."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ss_backbones import commands
from ss_backbones.benchmark import device_check
from ss_backbones.benchmark.candidates import own_networks
from ss_backbones.benchmark.device_check import check_device
from ss_backbones.networks.catalog import PRESETS, one_of_each

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/gpu_evidence.sh'


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = ['bash', str(SCRIPT), *map(str, arguments)]
    environment = {'PYTHON': sys.executable, 'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_step(tmp_path: Path):
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        for name in ('cat', 'dog'):
            (tmp_path / 'set' / part / name).mkdir(parents=True)
            for i in range(2):
                image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
                image.save(tmp_path / 'set' / part / name / f'{i}.png')
    (tmp_path / 'data').mkdir()
    with tarfile.open(tmp_path / 'data/cifar10.tar.xz', 'w:xz') as archive:
        for part in ('train', 'val'):
            archive.add(tmp_path / 'set' / part, part)
    done = run(tmp_path / 'out', '--device', 'cpu', '--quick', '--data', tmp_path / 'data')
    assert done.returncode == 0, done.stderr
    steps = ('versions', 'check', 'infer', 'train', 'ramps_b0_bias_0')
    found = {line.split()[0]: line.split()[2] for line in done.stdout.splitlines() if ' code ' in line}
    outputs = {name: (tmp_path / 'out' / f'{name}.txt').read_text() for name in steps}
    assert found == dict.fromkeys(steps, '0'), outputs
    assert 'All is right.' in outputs['check']
    assert 'convolution_backward' in (tmp_path / 'out/kernels.txt').read_text()
    for name in ('infer', 'train', 'ramps_b0_bias_0'):
        assert len((tmp_path / 'out' / f'{name}.csv').read_text().splitlines()) >= 2


def test_what_is_refused(tmp_path: Path):
    (tmp_path / 'mine').touch()
    done = run(tmp_path)
    assert done.returncode == 2 and 'nothing is written over' in done.stderr
    for arguments in ((), ('--nope', 'x'), ('x', '--device', 'tpu'), ('x', 'y')):
        done = run(*arguments)
        assert done.returncode == 2 and 'usage: tools/gpu_evidence.sh OUT' in done.stderr


@pytest.mark.parametrize(
    ('dtype', 'check'), [(torch.float32, 'maps, float32'), (torch.float16, 'gradients, float16 autocast')]
)
def test_a_wrong_number_is_seen(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, check: str):
    """An activation that is off in one dtype."""
    gelu = torch.nn.functional.gelu

    def wrong(x: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        found = gelu(x, *arguments, **options)
        return found * 1.5 if x.dtype == dtype else found

    monkeypatch.setattr(torch.nn.functional, 'gelu', wrong)
    findings = list(check_device(own_networks()['b0'], 'cpu', 'eager'))
    assert [finding for finding in findings if finding.check.startswith(check) and not finding.is_right]
    assert all(finding.is_right for finding in findings if 'float64' in finding.check)


def test_an_error_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def fold(model: nn.Module) -> nn.Module:
        raise RuntimeError('no such kernel\nsecond line')

    monkeypatch.setattr(device_check, 'fold', fold)
    assert commands.run('check-device', ['--device', 'cpu', '--quick', '--models', 'b0']) == 1
    said = capsys.readouterr().out
    assert 'WRONG  RuntimeError: no such kernel\n' in said
    assert '1 checks are wrong' in said and 'gradients with frozen stages, float64      ok' in said


def test_every_kind_is_checked():
    checked = one_of_each().values()
    for model in PRESETS.values():
        named = model.settings in model.network.named_settings
        kinds = {(m.network, m.mlp, m.settings in m.network.named_settings) for m in checked}
        assert (model.network, model.mlp, named) in kinds
    assert len(checked) == 8  # PVTv2, ViT, Swin, XCiT and UFO-ViT, SPViT's ViT and Swin, and ViT with another MLP


def test_a_network_that_is_not_there(capsys: pytest.CaptureFixture):
    assert commands.run('check-device', ['--device', 'cpu', '--models', 'b9']) == 2
    assert "there is no network 'b9'. There are b0" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert commands.run('check-device', []) == 2
        assert 'no CUDA device is available here' in capsys.readouterr().err
