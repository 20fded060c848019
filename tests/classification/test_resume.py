"""A training that was stopped and resumed ends as one that was not: the same weights, bit by bit, the same files."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.config import Config  # noqa: E402
from tiny_images import ROOT  # noqa: E402
from tiny_training import (  # noqa: E402
    BATCHES,
    Crash,
    assert_same,
    before_iteration,
    crash,
    load,
    log_of,
    train,
    write_training,
)

from ss_backbones import CheckpointError  # noqa: E402
from ss_backbones.classification import training  # noqa: E402
from ss_backbones.classification.metric import Accuracy  # noqa: E402
from ss_backbones.training import resume  # noqa: E402
from ss_backbones.training.hooks.preemption import EXIT_CODE  # noqa: E402

EPOCHS = 3
AVERAGED = "custom_hooks = _base_.custom_hooks + [dict(type='ss_backbones.AveragedWeightsHook', momentum=0.1)]"


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def send_to_workers() -> None:
    """Clusters send a signal to every process of a job."""
    for process in active_children():
        os.kill(process.pid, signal.SIGTERM)


@pytest.fixture(scope='module', autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads need not be the same in another process
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A run that exits leaves its handlers, as there is nothing after it but here. What it does not hear is ignored."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('resume')
    return write_training(folder, EPOCHS, AVERAGED)


@pytest.fixture(scope='module')
def whole(config: Path) -> Path:
    """The work dir of a run that nothing stopped."""
    train(config, config.parent / 'whole')
    return config.parent / 'whole'


def last(work_dir: Path) -> dict:
    return load(work_dir / f'epoch_{EPOCHS}.pth')


def names(work_dir: Path) -> set[str]:
    return {path.name for path in work_dir.glob('*.pth')}


def info(work_dir: Path) -> dict:
    """What the last checkpoint knows of the best one and of the files that are kept."""
    known = last(work_dir)['message_hub']['runtime_info']
    return {key: known[key] for key in ('accuracies', 'best_score', 'keep_ckpt_ids')} | {
        'best_ckpt': Path(known['best_ckpt']).name
    }


def test_the_whole_run_trains_and_averages(whole: Path):
    first, end = load(whole / f'epoch_{EPOCHS - 1}.pth'), last(whole)
    moved = [key for key, value in first['state_dict'].items() if not torch.equal(value, end['state_dict'][key])]
    assert len(moved) == len(end['optimizer']['state'])
    assert end['meta']['iter'] == EPOCHS * BATCHES
    raw = {key.removeprefix('module.'): value for key, value in end['ema_state_dict'].items()}
    assert any(not torch.equal(value, raw[key]) for key, value in end['state_dict'].items())


def test_killed(config: Path, whole: Path, tmp_path: Path):
    """Nothing but the last epoch's checkpoint is left; with worker processes, which draw as the one process did."""
    log = tmp_path / 'log'
    command = [sys.executable, str(ROOT / 'tools/pretrain.py'), str(config), '--work-dir', str(tmp_path / 'run')]
    with (
        log.open('w') as out,
        subprocess.Popen(
            [*command, '--cfg-options', 'train_dataloader.num_workers=2', 'log_level=INFO'],
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        while process.poll() is None and not re.search(r'\[2\]\[[23]/', log.read_text()):
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        process.kill()
    assert process.returncode == -signal.SIGKILL, log.read_text()[-2000:]
    assert 'epoch_1.pth' in names(tmp_path / 'run')
    assert not names(tmp_path / 'run') & {f'epoch_{EPOCHS}.pth', 'preempted.pth'}

    train(config, tmp_path / 'run', '--resume', train_dataloader__num_workers=2)

    assert_same(last(tmp_path / 'run'), last(whole))
    assert info(tmp_path / 'run') == info(whole)
    assert names(tmp_path / 'run') == names(whole)


@pytest.mark.parametrize(
    ('number', 'iteration', 'workers'),
    [(signal.SIGTERM, BATCHES + 2, 0), (signal.SIGUSR1, 1, 2), (signal.SIGTERM, 2 * BATCHES - 1, 2)],
    ids=['SIGTERM', 'SIGUSR1 in the first epoch', 'at the end of an epoch'],
)
def test_preempted(number: int, iteration: int, workers: int, config: Path, whole: Path, tmp_path: Path):
    options = {'train_dataloader__num_workers': workers, 'train_dataloader__prefetch_factor': 1} if workers else {}
    with (
        before_iteration(BATCHES + 1, send_to_workers),  # each has read a batch, and there are more to read
        before_iteration(iteration, send(number)),
        pytest.raises(SystemExit) as stop,
    ):
        train(config, tmp_path, **options)
    assert stop.value.code == EXIT_CODE
    assert load(tmp_path / 'preempted.pth')['meta']['iter'] == iteration + 1
    with before_iteration(iteration, crash):  # what is trained already is not trained again
        train(config, tmp_path, '--resume', **options)

    assert_same(last(tmp_path), last(whole))
    assert info(tmp_path) == info(whole)
    assert names(tmp_path) == names(whole) | {'preempted.pth'}


def test_preempted_twice_and_with_accumulated_gradients(config: Path, tmp_path: Path):
    """An update takes 4 batches, so an epoch of 6 ends with one of 2."""
    options = {'optim_wrapper__accumulative_counts': 4}
    train(config, tmp_path / 'whole', **options)
    for iteration, stopped in ((1, 4), (BATCHES + 4, BATCHES + 6)):  # at the next update
        arguments = ['--resume'] if iteration > 1 else []
        with before_iteration(iteration, send(signal.SIGTERM)), pytest.raises(SystemExit):
            train(config, tmp_path / 'run', *arguments, **options)
        assert load(tmp_path / 'run/preempted.pth')['meta']['iter'] == stopped
    # one that crashes falls back to an epoch's end, where no gradients may be waiting
    with before_iteration(2 * BATCHES + 1, crash), pytest.raises(Crash):
        train(config, tmp_path / 'run', '--resume', **options)
    (tmp_path / 'run/preempted.pth').unlink()
    train(config, tmp_path / 'run', '--resume', **options)

    assert_same(last(tmp_path / 'run'), last(tmp_path / 'whole'))
    updates = last(tmp_path / 'run')['ema_state_dict']['steps']
    assert updates == 2 * EPOCHS  # the average takes in what the updates give


def test_truncated_checkpoints(config: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name in ('epoch_2.pth', f'epoch_{EPOCHS}.pth'):  # the newest last
        shutil.copy(whole / name, tmp_path / name)
    half = (tmp_path / f'epoch_{EPOCHS}.pth').read_bytes()[:-1000]
    (tmp_path / f'epoch_{EPOCHS}.pth').write_bytes(half)
    warnings = []
    monkeypatch.setattr(resume, 'print_log', lambda text, **how: warnings.append((text, how['level'])))
    train(config, tmp_path, '--resume')

    assert_same(last(tmp_path), last(whole))
    [(text, level)] = warnings
    assert level == logging.WARNING
    assert f'epoch_{EPOCHS}.pth' in text
    assert 'one before' in text

    for path in tmp_path.glob('epoch_*.pth'):
        path.write_bytes(b'PK' + bytes(100))
    train(config, tmp_path, '--resume', code=2)
    error = capsys.readouterr().err
    assert 'none of the checkpoints can be read' in error
    assert 'epoch_2.pth' in error
    with pytest.raises(CheckpointError, match='none of the checkpoints'):
        resume.newest_checkpoint(str(tmp_path))


def test_resume_begins_where_nothing_is_and_a_second_start_is_refused(config: Path, tmp_path: Path, capsys):
    train(config, tmp_path, '--resume', '--no-validate', train_cfg__max_epochs=1, param_scheduler='[]')
    assert names(tmp_path) == {'epoch_1.pth'}
    train(config, tmp_path, code=2)
    error = capsys.readouterr().err
    assert 'epoch_1.pth' in error
    assert '--resume' in error
    assert '--work-dir' in error


def test_first_start_begins_with_the_weights_of_the_config(tmp_path: Path):
    config = Config(dict(work_dir=str(tmp_path), load_from='weights.pth'))
    training.set_resume(config, True)
    assert config.load_from == 'weights.pth'
    assert not config.resume


def test_best_checkpoint_after_a_stop_in_validation(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Epoch 2 is the best, and the run dies before that is known. A run that has ended can be resumed, too."""
    values: list = [10.0, None, 30.0, 20.0, 20.0]

    def compute_metrics(self: Accuracy, results: list) -> dict[str, float]:
        value = values.pop(0)
        if value is None:
            raise Crash
        return {'top1': value}

    monkeypatch.setattr(Accuracy, 'compute_metrics', compute_metrics)
    plain = write_training(tmp_path, EPOCHS)
    work_dir = tmp_path / 'run'
    with pytest.raises(Crash):
        train(plain, work_dir)
    assert {name for name in names(work_dir) if 'best' in name} == {'best_accuracy_top1_epoch_1.pth'}
    train(plain, work_dir, '--resume')
    after = {'best_accuracy_top1_epoch_2.pth', 'epoch_2.pth', 'epoch_3.pth'}
    assert names(work_dir) == after
    assert info(work_dir)['best_score'] == 30.0

    written = (work_dir / 'epoch_3.pth').stat().st_mtime_ns
    train(plain, work_dir, '--resume', log_level='INFO')
    assert 'Best: top-1 30.00 at epoch 2; last: 20.00 at 3.' in log_of(work_dir)
    assert names(work_dir) == after
    assert (work_dir / 'epoch_3.pth').stat().st_mtime_ns == written
    assert not values


@pytest.mark.parametrize('iteration', [1, BATCHES + 3])
def test_another_batch_size(iteration: int, config: Path, tmp_path: Path):
    with before_iteration(iteration, send(signal.SIGTERM)), pytest.raises(SystemExit):
        train(config, tmp_path, '--no-validate')
    train(config, tmp_path, '--no-validate', '--resume', train_dataloader__batch_size=4)

    log = log_of(tmp_path)
    assert log.count('The epoch begins anew') == 1
    assert log.count('This run has 4 images an update in place of 8, but its learning rate and schedule go on') == 1
    assert last(tmp_path)['meta']['iter'] == EPOCHS * 2 * BATCHES


def test_the_newest_is_the_one_that_was_trained_longest(whole: Path, tmp_path: Path):
    for name in (f'epoch_{EPOCHS}.pth', 'epoch_2.pth'):  # copied in this order, as a copy of a folder may be
        shutil.copy(whole / name, tmp_path / name)
    assert resume.newest_checkpoint(str(tmp_path)).path == str(tmp_path / f'epoch_{EPOCHS}.pth')
    states = torch.load(whole / 'epoch_2.pth', weights_only=True)
    states['meta']['iter'] = 10**6
    torch.save(states, tmp_path / 'preempted.pth')
    assert resume.newest_checkpoint(str(tmp_path)).path == str(tmp_path / 'preempted.pth')
    for epoch in (99, 100):
        (tmp_path / f'epoch_{epoch}.pth').touch()
    assert [path.name for path in resume.checkpoints_in(str(tmp_path))][:2] == ['epoch_100.pth', 'epoch_99.pth']


@pytest.mark.parametrize(
    'options', [dict(model__backbone__settings='uniform'), dict(model__backbone__name='ss_pvt_v2_b1')]
)
def test_checkpoints_of_another_network(config: Path, whole: Path, tmp_path: Path, options: dict, capsys):
    shutil.copy(whole / 'epoch_2.pth', tmp_path / 'epoch_2.pth')
    train(config, tmp_path, '--resume', code=2, **options)
    assert 'epoch_2.pth is of another model than the config' in capsys.readouterr().err


def interrupt() -> None:
    raise KeyboardInterrupt


def test_what_is_said_after_ctrl_c(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """No checkpoint is claimed that is not there."""
    with before_iteration(2, interrupt):
        train(config, tmp_path, code=130)
    assert f'stopped. There is no checkpoint in {tmp_path} to go on from' in capsys.readouterr().err
    with before_iteration(BATCHES + 2, interrupt):
        train(config, tmp_path, code=130)
    assert f'stopped. --resume goes on from {tmp_path / "epoch_1.pth"}' in capsys.readouterr().err


def test_a_dry_run_writes_nothing(config: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    train(config, tmp_path / 'none', '--dry-run', log_level='INFO')
    assert 'Dry run: everything was built. One step: loss' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    there = sorted(whole.rglob('*'))
    train(config, whole, '--dry-run', log_level='INFO')  # although the folder has checkpoints
    train(config, whole, '--dry-run', '--resume', log_level='INFO', train_cfg__max_epochs=EPOCHS + 1)
    said = capsys.readouterr().out
    assert f'At this rate {BATCHES} iterations would take' in said
    assert sorted(whole.rglob('*')) == there
