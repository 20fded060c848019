"""Two processes train as one with twice the batch does, and so do gradients accumulated over two batches."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

import torch  # noqa: E402
from slurm_stand_in import slurm_environment  # noqa: E402
from tiny_images import ROOT  # noqa: E402
from tiny_training import (  # noqa: E402
    BATCHES,
    assert_same,
    load,
    log_of,
    tensors,
    train,
    write_training,
)

EPOCHS = 2
# Nothing that draws for a whole batch; images are augmented one by one, each with its own seed. SGD, as Adam divides by
# small numbers, and a schedule that counts epochs.
MORE = """
model.update(mixup=None, random_erasing=None)
model['backbone']['drop_path_rate'] = 0.0
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=0.05))
auto_scale_lr = dict(base_batch_size=4)
param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.5)]
custom_hooks = _base_.custom_hooks + [dict(type='ss_backbones.AveragedWeightsHook', momentum=0.1)]
log_level = 'INFO'
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('distributed')
    config = write_training(folder, EPOCHS, MORE)
    (folder / 'data/val/class1/2.png').write_bytes(b'')
    return config


@pytest.fixture(scope='module')
def alone(config: Path) -> Path:
    """The work dir of one process with 8 images a batch."""
    train(config, config.parent / 'alone')
    return config.parent / 'alone'


def arguments(config: Path, work_dir: Path) -> list[str]:
    return [
        '--work-dir',
        str(work_dir),
        '--cfg-options',
        'train_dataloader.batch_size=4',
        'val_dataloader.batch_size=4',
    ]


@pytest.fixture(scope='module')
def two(config: Path) -> Path:
    """The work dir of two processes with 4 images each."""
    work_dir = config.parent / 'two'
    done = subprocess.run(
        [str(ROOT / 'tools/dist_train.sh'), str(config), '2', *arguments(config, work_dir)],
        env=dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir


@pytest.fixture(scope='module')
def accumulated(config: Path) -> Path:
    """The work dir of one process with 4 images a batch, and an update after two."""
    work_dir = config.parent / 'accumulated'
    train(config, work_dir, train_dataloader__batch_size=4, optim_wrapper__accumulative_counts=2)
    return work_dir


@pytest.fixture(params=['two', 'accumulated'])
def other(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield request.getfixturevalue(request.param)


def last(work_dir: Path) -> dict:
    return load(work_dir / f'epoch_{EPOCHS}.pth')


def test_same_weights(alone: Path, other: Path):
    mine, theirs = last(other), last(alone)
    start = load(alone / 'epoch_1.pth')
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        left, right, before = (dict(tensors(checkpoint[part])) for checkpoint in (mine, theirs, start))
        assert left.keys() == right.keys()
        for key, value in left.items():
            torch.testing.assert_close(
                value, right[key], rtol=1e-4, atol=2e-6, msg=lambda text, key=key: f'{key}: {text}'
            )
        full = [key for key, value in right.items() if value.numel()]
        moved = max((right[key].double() - before[key].double()).abs().max().item() for key in full)
        assert moved > 1e-3  # much more than what passes for the same


def test_same_accuracies(alone: Path, other: Path):
    """Of 15 images, which two processes do not share evenly, and of which one cannot be read."""
    mine, theirs = (last(folder)['message_hub'] for folder in (other, alone))
    assert mine['runtime_info']['accuracies'] == theirs['runtime_info']['accuracies']
    for name in ('val/accuracy/top1', 'val/accuracy/top5', 'val/raw_accuracy/top1'):
        left, right = (dict(hub['log_scalars'])[name].data[0] for hub in (mine, theirs))
        assert list(left) == list(right)
        assert all(round(value * 14 / 100, 3).is_integer() for value in left)


def test_learning_rate_of_all_images_of_an_update(alone: Path, other: Path):
    for folder in (alone, other):
        groups = last(folder)['optimizer']['param_groups']
        assert [group['initial_lr'] for group in groups] == pytest.approx([0.02] * len(groups))
        assert [group['lr'] for group in groups] == pytest.approx([0.01] * len(groups))  # after the schedule's step
        assert 'Learning rate 0.01 for 4 images scaled to 0.02 for 8 images an update' in log_of(folder)
    assert ('2 processes x 4 images x 1 accumulated' in log_of(other)) == (other.name == 'two')


def test_stopped_and_resumed_by_slurm(config: Path, two: Path, tmp_path: Path):
    """Two processes, of which the signal of one would be enough, end as those that nothing stopped, bit by bit."""
    environment = {**os.environ, **slurm_environment(tmp_path), 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
    environment['NODE'] = '127.0.0.1'
    command = [str(ROOT / 'tools/slurm_train.sh'), str(config), *arguments(config, tmp_path / 'run')]
    log = tmp_path / 'log'
    with (
        log.open('w') as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT) as job,
    ):
        while job.poll() is None and not re.search(r'\[1\]\[[23]/', log.read_text()):
            try:
                job.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        job.send_signal(signal.SIGUSR1)
    assert job.returncode == 75, log.read_text()[-3000:]
    assert (tmp_path / 'requeued').read_text() == 'requeue 4711\n'
    assert 0 < load(tmp_path / 'run/preempted.pth')['meta']['iter'] < EPOCHS * BATCHES

    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'requeued').read_text() == 'requeue 4711\n'
    assert_same(last(tmp_path / 'run'), last(two))
