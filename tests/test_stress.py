"""The scripts in tools/stress in short, and whether they see what is wrong; real kills are too long for tests."""

import sys
import urllib.request
from pathlib import Path

import corruptions
import ddp
import halves
import kills
import offline
import pytest
import sizes
import torch
from small_networks import BACKBONES, SIMPLEST, outputs
from torch import nn

from ss_backbones.checkpoints import files

SCRIPTS = [corruptions, ddp, halves, kills, offline, sizes]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda script: script.__name__)
def test_help(script: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, 'argv', ['x', '--help'])
    with pytest.raises(SystemExit):
        script.main()
    assert '--seed' in capsys.readouterr().out


@pytest.mark.filterwarnings('ignore')  # torch's, of sparse and quantized tensors
def test_corruptions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of each kind; and then without the comparison of checksums."""
    count = len(corruptions.KINDS)
    counts, wrong = corruptions.run(count, seed=0)
    assert not wrong and len(counts) == count * len(corruptions.WAYS)
    assert sum(found['refused'] + found['right'] for found in counts.values()) == len(counts)
    monkeypatch.setattr(files, 'check_bytes', lambda path: None)
    _, wrong = corruptions.run(1, seed=0)
    assert len(wrong) == len(corruptions.WAYS) and 'case 0, flip, load_weights: other weights' in wrong


def test_sizes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    counts, wrong = sizes.run(BACKBONES[:1], 2, seed=0)
    assert counts == {str(BACKBONES[0]): {'right': 4}} and not wrong
    make = BACKBONES[0]
    monkeypatch.setattr(make.cls, 'forward', lambda self, x: tuple(map_of(self, x)))
    _, wrong = sizes.run([make], 1, seed=0)
    assert 'depends on the other image' in wrong[0]
    assert sizes.finish('network', ('right', 'WRONG'), counts, wrong) == 1
    assert 'right      WRONG' in capsys.readouterr().out


def map_of(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Maps of the right shapes that hold the batch's mean."""
    mean = x.mean()
    return [
        mean * torch.ones(len(x), channels, -(-x.shape[2] // stride), -(-x.shape[3] // stride))
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]


def test_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    make = BACKBONES[0]
    counts, wrong, worst = halves.run([make], 1, seed=0)
    assert counts == {f'{make}, {dtype}': {'right': 1} for dtype in ('bfloat16', 'float16')} and not wrong
    assert 0 < worst[torch.float16] < worst[torch.bfloat16] < 0.05
    forward = make.cls.forward
    lost = lambda self, x: tuple(m * 1.1 if torch.is_autocast_enabled('cpu') else m for m in forward(self, x))  # noqa: E731
    monkeypatch.setattr(make.cls, 'forward', lost)
    _, wrong, _ = halves.run([make], 1, seed=0)
    assert len(wrong) == 2 and all('an output is 0.1 away' in text for text in wrong)
    monkeypatch.setattr(make.cls, 'forward', lambda self, x: forward(self, x)[:-1])
    _, wrong, _ = halves.run([make], 1, seed=0)
    assert len(wrong) == 2 and all('parameters get no finite gradient' in text for text in wrong)


def test_ddp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one process, and then with a level that nothing uses, at which DDP stops, and with other maps."""
    make = next(make for make in SIMPLEST if str(make) == 'xcit backbone')

    def run(name: str) -> tuple:
        (tmp_path / name).mkdir()
        ddp.work(0, 1, str(tmp_path / name), str(make), 0)
        return ddp.read(str(tmp_path / name), 1)

    cases = list(ddp.cases_of(make))
    monkeypatch.setattr(ddp, 'cases_of', lambda make: cases[:2])
    assert run('right') == ({str(make): {'right': 2}}, [])
    monkeypatch.setattr(ddp, 'outputs', lambda model, x: outputs(model, x)[1:])
    _, wrong = run('level')
    assert len(wrong) == 2 and all('finished reduction in the prior iteration' in text for text in wrong)
    monkeypatch.setattr(ddp, 'outputs', outputs)
    forward = make.cls.forward
    monkeypatch.setattr(
        make.cls, 'forward', lambda self, x: tuple(m * (1 + 0.1 * (self.with_cp)) for m in forward(self, x))
    )
    monkeypatch.setattr(ddp, 'cases_of', lambda make: [case for case in cases if case['with_cp']][:1])
    _, wrong = run('other')
    assert 'is another one' in str(wrong)


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, wrong = offline.run(1, seed=0)
    assert counts == {way: {'right': 1} for way in offline.WAYS} and not wrong
    monkeypatch.setattr(offline, 'WAYS', {'urllib': urllib.request.urlopen, 'nothing': lambda address: None})
    _, wrong = offline.run(1, seed=0)
    assert 'URLError' in wrong[0] and 'nothing is said' in wrong[1]


def test_kills_compare_checkpoints(tmp_path) -> None:  # noqa: ANN001
    content = {
        'state_dict': {'a': torch.ones(3)},
        'optimizer': {'state': {0: {'step': torch.tensor(2.0)}}},
        'param_schedulers': [{'last_step': 2}],
    }
    torch.save(content, tmp_path / 'a.pth')
    torch.save(content, tmp_path / 'b.pth')
    assert not kills.difference(tmp_path / 'a.pth', tmp_path / 'b.pth')
    content['state_dict']['a'] = torch.tensor([1.0, 1.0, torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))])
    torch.save(content, tmp_path / 'b.pth')
    assert kills.difference(tmp_path / 'a.pth', tmp_path / 'b.pth') == 'state_dict: 1 of 1 differ, such as /a'
    assert kills.difference(tmp_path / 'a.pth', tmp_path / 'none.pth')
