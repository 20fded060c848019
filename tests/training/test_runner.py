"""The Runner of all trainings: going on, stopping, what is on the screen, checkpoints of other models, dry runs.

A Mask R-CNN (epochs) and a UperNet (iterations) with few blocks, four images of 64 x 64, no worker processes.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop  # noqa: E402
from tiny_configs import DETECTOR, ITERATIONS, SEGMENTER, config_of  # noqa: E402

from ss_backbones.errors import CheckpointError, UsageError  # noqa: E402
from ss_backbones.training import EpochLoop, IterLoop, Runner  # noqa: E402
from ss_backbones.training.hooks import PreemptionHook, progress  # noqa: E402
from ss_backbones.training.resume import how_to_go_on, newest_checkpoint  # noqa: E402


@pytest.fixture(autouse=True)
def unformatted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formatting the config for the log takes longer than a training."""
    if 'screen' not in request.node.name:
        monkeypatch.setattr(Config, 'pretty_text', '')


class Signal(Hook):
    """Sends this process a signal in the middle of an iteration, as a terminal or a cluster would."""

    def __init__(self, iteration: int, number: int) -> None:
        self.iteration, self.number = iteration, number

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


def built(config: Config) -> Runner:
    return RUNNERS.build(config)


def weights(runner: Runner) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


@pytest.fixture(scope='module', params=[DETECTOR, SEGMENTER], ids=['detector', 'segmenter'])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict]:
    """A training without a stop: its config's name, its folder and its weights."""
    folder = tmp_path_factory.mktemp('whole')
    runner = built(config_of(request.param, folder))
    runner.train()
    return request.param, folder, weights(runner)


# ---- stopping and going on


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 75), (signal.SIGINT, 130)], ids=['SIGTERM', 'Ctrl-C'])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    whole: tuple[str, Path, dict], tmp_path: Path, number: int, code: int
):
    """It is stopped in the middle of an epoch, in its third iteration."""
    name, folder, expected = whole
    runner = built(config_of(name, folder, tmp_path))
    runner.register_hook(Signal(2, number))
    with pytest.raises(SystemExit) as stopped:
        runner.train()
    runner.call_hook('after_train')  # gives the signals back, as a process that ends would
    assert stopped.value.code == code
    assert runner.iter == 2 and not list(tmp_path.glob('*.part'))
    assert 'preempted.pth' in how_to_go_on(str(tmp_path))

    runner = built(config_of(name, folder, tmp_path, resume=True, randomness={'seed': None}))
    runner.train()
    assert runner.iter == ITERATIONS
    assert_equal(weights(runner), expected)


class SignalToAll(Hook):
    """A cluster's signal, which the processes that read data get before the training does."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None):
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)
        time.sleep(0.5)  # what a worker's end would need to be noticed
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_to_the_processes_that_read_data_does_not_end_the_training_first(tmp_path: Path):
    runner = built(config_of(DETECTOR, tmp_path, **{'train_dataloader.num_workers': 1}))
    runner.register_hook(SignalToAll())
    with pytest.raises(SystemExit) as stopped:
        runner.train()
    runner.call_hook('after_train')
    assert stopped.value.code == 75 and 'preempted.pth' in how_to_go_on(runner.work_dir)


def test_python_ends_with_workers_that_are_kept():
    """A loader with persistent workers, in the middle of its data and after them."""
    code = """
from torch.utils.data import DataLoader
from ss_backbones.training.workers import start_worker
loaders = [DataLoader(range(9), num_workers=1, persistent_workers=True, worker_init_fn=start_worker) for _ in '12']
batches = iter(loaders[0])
print(next(batches), [int(batch) for batch in loaders[1]])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, 'tensor([0]) [0, 1, 2, 3, 4, 5, 6, 7, 8]\n')
    assert 'Error' not in done.stderr


def test_a_second_ctrl_c_and_one_in_a_validation_stop_at_once(capsys: pytest.CaptureFixture):
    hook = PreemptionHook()
    hook._note(signal.SIGINT, None)
    assert 'Stopping after this step' in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        hook._note(signal.SIGINT, None)
    hook = PreemptionHook()
    hook.before_val_epoch(None)
    with pytest.raises(KeyboardInterrupt):
        hook._note(signal.SIGINT, None)
    hook.after_val_epoch(None)
    hook._note(signal.SIGINT, None)


@pytest.mark.parametrize(
    ('newest', 'last'), [(b'', ''), (b'PK\x03\x04 cut', None), (None, '/nowhere/epoch_7.pth'), (None, None)]
)
def test_going_on_after_a_kill_while_a_checkpoint_was_written(
    whole: tuple[str, Path, dict], tmp_path: Path, last: str | None, newest: bytes | None
):
    """Whatever became of the newest checkpoint and of mmengine's file that names it."""
    name, folder, expected = whole
    first, second = sorted(path.name for path in (folder / 'work').glob('*.pth'))
    shutil.copy(folder / 'work' / first, tmp_path / first)
    if newest is not None:
        (tmp_path / second).write_bytes(newest)
    (tmp_path / f'{second}.part').write_bytes(b'PK')
    if last is not None:
        (tmp_path / 'last_checkpoint').write_text(last)
    runner = built(config_of(name, folder, tmp_path, resume=True))
    assert runner._resumed.path == str(tmp_path / first)
    if newest:  # one of them to the end
        runner.train()
        assert_equal(weights(runner), expected)


def test_nothing_to_go_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert newest_checkpoint(str(tmp_path)) is None
    assert 'There is no checkpoint' in how_to_go_on(str(tmp_path))
    runner = built(config_of(SEGMENTER, tmp_path, tmp_path / 'work', resume=True))
    said = []
    runner.logger.warning = said.append
    runner.load_or_resume()
    assert 'begins anew' in said[0]


# ---- checkpoints of other models


def checkpoint_of(whole: tuple[str, Path, dict]) -> str:
    return str(max((whole[1] / 'work').glob('*.pth')))


@pytest.mark.parametrize('how', ['begin', 'resume', 'test'])
@pytest.mark.parametrize(
    'other', [dict(settings='uniform'), dict(ramp='paper'), 'another model'], ids=['twin', 'ramp', 'model']
)
def test_a_checkpoint_of_another_model(whole: tuple[str, Path, dict], tmp_path: Path, how: str, other: dict | str):
    name, folder, _ = whole
    options = {'load_from': checkpoint_of(whole), 'resume': how == 'resume'}
    if other == 'another model':
        name = SEGMENTER if name == DETECTOR else DETECTOR
        folder = tmp_path
    else:
        options |= {f'model.backbone.{key}': value for key, value in other.items()}
    config = config_of(name, folder, tmp_path / 'work', **options)
    if how == 'test':
        config.update(dict.fromkeys(('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')))
        load_weights = built(config).load_or_resume
    else:
        runner = built(config)
        runner.build_parts()
        load_weights = runner.load_or_resume
    if other == dict(ramp='paper') and how != 'resume':
        load_weights()  # ramps are moved; but the optimiser knows no other parameters than those it had
        return
    with pytest.raises(CheckpointError, match='is of another model than the config: .* tensors') as error:
        load_weights()
    assert options['load_from'] in str(error.value)
    if how != 'resume':
        config.partial = True
        runner = built(config)
        if how == 'begin':
            runner.build_parts()
        runner.load_or_resume()


def test_a_detector_for_other_classes_begins_with_a_detector(whole: tuple[str, Path, dict], tmp_path: Path):
    name, folder, theirs = whole
    if name == SEGMENTER:
        pytest.skip('the same for a segmenter')
    classes = {f'model.roi_head.{head}.num_classes': 3 for head in ('bbox_head', 'mask_head')}
    runner = built(config_of(name, folder, tmp_path, load_from=checkpoint_of(whole), **classes))
    runner.build_parts()
    runner.load_or_resume()
    ours = runner.model.state_dict()
    assert ours['roi_head.bbox_head.fc_cls.weight'].shape[0] == 4
    assert torch.equal(ours['roi_head.bbox_head.shared_fcs.0.weight'], theirs['roi_head.bbox_head.shared_fcs.0.weight'])


# ---- what is said


def test_the_screen_is_short_and_the_file_is_not(whole: tuple[str, Path, dict], capsys: pytest.CaptureFixture):
    name, folder, _ = whole
    config = config_of(name, folder, folder / f'again-{os.getpid()}')
    runner = built(config)
    runner.train()
    screen = capsys.readouterr().out
    [log] = Path(config.work_dir).glob('*/*.log')
    text = log.read_text()
    assert 'System environment' in text and 'custom_imports' in text and 'Hooks will be executed' in text
    before = screen[: screen.index('loss:')] if 'loss:' in screen else screen
    assert len(before.splitlines()) < 25
    assert 'custom_imports' not in screen and 'Hooks will be executed' not in screen
    what = {'detector': 'MaskRCNN with SSPVTv2', 'segmenter': 'EncoderDecoder with SSPVTv2'}
    assert f'Training {what["detector" if name == DETECTOR else "segmenter"]}: {ITERATIONS} iterations of 2' in screen
    assert str(log) in screen


def test_it_is_never_silent_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    config = config_of(SEGMENTER, tmp_path)
    config.default_hooks.logger.interval = 10**6
    monkeypatch.setattr(progress, '_SILENCE', 0)
    built(config).train()
    assert f'Iteration {ITERATIONS - 1} of {ITERATIONS}, loss ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('batch', 'accumulated', 'enabled', 'said'),
    [(2, 1, False, '1.25e-05'), (2, 4, False, '5e-05'), (16, 1, False, None), (4, 4, False, None), (2, 1, True, None)],
)
def test_a_learning_rate_for_another_batch(
    tmp_path: Path, batch: int, accumulated: int, enabled: bool, said: str | None
):
    config = config_of(DETECTOR, tmp_path)
    config.merge_from_dict(
        {
            'train_dataloader.batch_size': batch,
            'auto_scale_lr': dict(enable=enabled, base_batch_size=16),
            'optim_wrapper.optimizer.lr': 1e-4,
            'optim_wrapper.accumulative_counts': accumulated,
        }
    )
    runner = built(config)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    warnings = []
    runner.logger.warning = warnings.append
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    if said is None:
        assert not warnings
    else:
        assert f'--cfg-options optim_wrapper.optimizer.lr={said}' in warnings[0]


# ---- dry runs, loops


def test_a_dry_run_makes_one_step(tmp_path: Path, capsys: pytest.CaptureFixture):
    runner = built(config_of(SEGMENTER, tmp_path, dry_run=True))
    before = weights(runner)
    runner.train()
    assert 'Dry run: everything was built. One step: loss' in capsys.readouterr().out
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {1}
    assert any(not torch.equal(before[key], value) for key, value in runner.model.state_dict().items())
    assert not list(tmp_path.rglob('*.pth'))


def test_a_dry_run_sees_a_loss_that_is_none(tmp_path: Path):
    runner = built(config_of(SEGMENTER, tmp_path, dry_run=True))
    with torch.no_grad():
        runner.model.backbone.patch_embed.proj.weight.fill_(float('nan'))
    with pytest.raises(UsageError, match='loss of the first step is nan'):
        runner.train()


class OwnLoop(EpochBasedTrainLoop):
    """Someone's own, under a name of mmengine's."""


OwnLoop.__name__ = 'EpochBasedTrainLoop'


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=1), EpochLoop),
        (dict(type='mmengine.IterBasedTrainLoop', max_iters=1), IterLoop),
        (dict(type=IterBasedTrainLoop, max_iters=1), IterLoop),
        (dict(by_epoch=True, max_epochs=1), EpochLoop),
        (dict(by_epoch=False, max_iters=1), IterLoop),
        (dict(type=OwnLoop, max_epochs=1), OwnLoop),
    ],
)
def test_which_loops_are_replaced(tmp_path: Path, given: dict, expected: type):
    runner = built(config_of(SEGMENTER, tmp_path))
    assert type(runner.build_train_loop(given)) is expected


def test_what_a_filter_lets_through(tmp_path: Path, capsys: pytest.CaptureFixture):
    runner = built(config_of(SEGMENTER, tmp_path))
    capsys.readouterr()
    runner.logger.info('a detail')
    runner.logger.warning('a warning')
    runner.console.preparing = False
    runner.logger.info('a step')
    assert [word in capsys.readouterr().out for word in ('nothing',)] == [False]
    assert runner.logger.handlers[0].level == logging.INFO
