"""A DFC network as a user trains it: stopped, resumed, exported, probed, and followed by the network it asks for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmengine')
pytest.importorskip('mmcv')

from tiny_training import (  # noqa: E402
    BATCHES,
    Crash,
    assert_same,
    before_iteration,
    crash,
    load,
    train,
    write_training,
)

Run = Callable[..., tuple[int, str]]
EPOCHS = 2
NETWORK = """
model['backbone'].update(name='dfc_deit_tiny_patch16_224', img_size=32, drop_path_rate=0.0)
default_hooks['checkpoint'].update(max_keep_ckpts=-1)
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training(tmp_path_factory.mktemp('dfc'), EPOCHS, NETWORK)


@pytest.fixture(scope='module')
def whole(config: Path) -> Path:
    """The work dir of a run that nothing stopped."""
    train(config, config.parent / 'whole')
    return config.parent / 'whole'


def test_a_resumed_run_ends_as_one_that_was_not_stopped(config: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Crash), before_iteration(BATCHES + 2, crash):
        train(config, tmp_path)
    train(config, tmp_path, '--resume')
    ours, theirs = (load(folder / f'epoch_{EPOCHS}.pth') for folder in (tmp_path, whole))
    assert_same(ours, theirs)
    start = load(whole / 'epoch_1.pth')['state_dict']
    learnt = [key for key in start if '.dfc.' in key and not torch.equal(start[key], theirs['state_dict'][key])]
    assert len(learnt) == 12 * 6  # all of DFC's tensors in all blocks


def test_it_is_exported(config: Path, whole: Path, tmp_path: Path, call: Run) -> None:
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    checkpoint = whole / f'epoch_{EPOCHS}.pth'
    code, said = call('export', config, tmp_path / 'dfc.onnx', '--checkpoint', checkpoint)
    assert code == 0, said
    # the export compares with onnxruntime
    assert 'the logits of dfc_deit_tiny_patch16_224' in said and (tmp_path / 'dfc.onnx').exists()


def test_from_a_probe_to_the_network_it_asks_for(config: Path, whole: Path, tmp_path: Path, call: Run) -> None:
    pytest.importorskip('scipy')
    code, said = call('probe', whole, tmp_path / 'probe')
    assert code == 0, said
    found = json.loads((tmp_path / 'probe/probe.json').read_text())
    assert [snapshot['epoch'] for snapshot in found['snapshots']] == [1, 2]
    code, said = call('derive-settings', tmp_path / 'probe/probe.json', '--budget', '0.75', '--base', config)
    assert code == 0, said
    derived = tmp_path / 'probe/derived.py'
    train(derived, tmp_path / 'run')
    weights = load(tmp_path / f'run/epoch_{EPOCHS}.pth')['state_dict']
    assert 'backbone.blocks.11.mlp.fc2.weight' in weights and not any('.dfc.' in key for key in weights)
