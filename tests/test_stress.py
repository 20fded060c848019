"""The scripts in tools/stress in short, and whether they see what is wrong; real kills are too long for tests."""

import sys

import corruptions
import kills
import pytest
import sizes
import torch
from small_networks import BACKBONES
from torch import nn

from ss_backbones.checkpoints import files

SCRIPTS = [corruptions, kills, sizes]


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
