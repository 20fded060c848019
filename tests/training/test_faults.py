"""What must not pass in silence: what is not finite, damaged checkpoints, full disks, two trainings in one folder."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from ss_backbones.errors import CheckpointError, OutputError, TrainingError, UsageError  # noqa: E402
from ss_backbones.training import Runner  # noqa: E402
from ss_backbones.training.hooks import finite  # noqa: E402
from ss_backbones.training.resume import newest_checkpoint  # noqa: E402
from ss_backbones.training.work_dir_lock import lock  # noqa: E402

_RUNS = count()  # mmengine keeps what belongs to a run by its name


@MODELS.register_module(force=True)
class Line(BaseModel):
    """One weight; its loss is that of the data, times the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, inputs: torch.Tensor, mode: str = 'loss') -> dict:
        found = self.layer(inputs.view(-1, 1)).mean()
        return {'loss': found.detach() * float('inf') + self.layer.weight.sum() * 0 if inputs.max() > 50 else found}


def runner(folder: Path, values: list[float], *, by_epoch: bool = False, **options: object) -> Runner:
    data = DataLoader([{'inputs': torch.tensor([value])} for value in values])
    return Runner(
        model=Line(),
        work_dir=str(folder),
        train_dataloader=data,
        train_cfg=dict(by_epoch=by_epoch, **({'max_epochs': 1} if by_epoch else {'max_iters': len(values)})),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        experiment_name=f'{folder.name}-{next(_RUNS)}',
        cfg=Config(options),
        load_from=options.get('load_from'),
        resume=options.get('resume', False),
        log_level='WARNING',
    )


NAN = float('nan')


def test_a_training_that_comes_to_nan_is_stopped(tmp_path: Path):
    run = runner(tmp_path, [1.0, 2.0, 3.0, NAN, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(TrainingError) as error:
        run.train()
    said = str(error.value)
    assert 'not been finite since iteration 4: 1 tensors hold NaN or infinity, the first is layer.weight' in said
    assert '(learning rate 0.1)' in said and 'iter_2.pth' in said
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_2.pth']


def test_a_loss_that_leaves_the_weights_alone_is_passed_over_twice(tmp_path: Path):
    """The model makes an infinite loss without a gradient of 100."""
    run = runner(tmp_path, [1.0, 100.0, 100.0, 1.0, 100.0, 100.0, 1.0])
    run.model.layer.weight.register_hook(lambda gradient: torch.nan_to_num(gradient))
    run.train()
    assert run.iter == 7
    run = runner(tmp_path / 'more', [1.0, 100.0, 100.0, 100.0, 1.0])
    run.model.layer.weight.register_hook(lambda gradient: torch.nan_to_num(gradient))
    with pytest.raises(
        TrainingError, match='since iteration 2: the weights are still finite. There is no checkpoint|iter_2'
    ):
        run.train()


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finite.FiniteHook, 'after_train_iter', lambda *arguments, **options: None)
    with pytest.raises(TrainingError, match='At iteration 2 1 tensors hold NaN or infinity.*no checkpoint is written'):
        runner(tmp_path, [1.0, NAN, 1.0]).train()
    assert not list(tmp_path.glob('*.pth*'))


# ---- checkpoints


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training, with iter_2.pth and iter_4.pth."""
    folder = tmp_path_factory.mktemp('trained')
    runner(folder, [1.0, 2.0, 3.0, 4.0]).train()
    return folder


def flip(file: Path) -> None:
    """Change a bit of the weight."""
    weight = torch.load(file, weights_only=True)['state_dict']['layer.weight'].numpy().tobytes()
    content = bytearray(file.read_bytes())
    content[content.rindex(weight)] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ('iter_2.pth', 'iter_4.pth'):
        shutil.copy(trained / name, tmp_path / name)
    flip(tmp_path / 'iter_4.pth')
    run = runner(tmp_path, [1.0] * 4, resume=True)
    assert run._resumed.path == str(tmp_path / 'iter_2.pth')
    run.train()
    assert run.iter == 4
    for name in ('iter_2.pth', 'iter_4.pth'):
        flip(tmp_path / name)
    with pytest.raises(CheckpointError, match=r'none of the checkpoints can be read \(iter_4.pth, iter_2.pth\)'):
        newest_checkpoint(str(tmp_path))


@pytest.mark.parametrize('how', ['begin', 'resume', 'test'])
def test_checkpoints_that_cannot_be_used(trained: Path, tmp_path: Path, how: str):
    file = tmp_path / 'x.pth'

    def load(*, partial: bool = False) -> torch.Tensor:
        run = runner(tmp_path / 'work', [1.0], load_from=str(file), resume=how == 'resume', partial=partial)
        if how == 'test':
            run.optim_wrapper = None
        else:
            run.build_parts()
        before = run.model.layer.weight.detach().clone()
        try:
            run.load_or_resume()
        except CheckpointError:
            assert torch.equal(run.model.layer.weight, before)
            raise
        return run.model.layer.weight

    def rewrite(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        content = torch.load(trained / 'iter_4.pth', weights_only=True)
        content['state_dict']['layer.weight'] = change(content['state_dict']['layer.weight'])
        torch.save(content, file)

    rewrite(lambda weight: weight * torch.inf)
    with pytest.raises(
        CheckpointError, match='x.pth: 1 tensors hold NaN or infinity, the first is layer.weight.*--par'
    ):
        load()
    assert load(partial=True).isinf().all()
    for change, words in (
        (lambda weight: weight.to_sparse(), 'of the layout torch.sparse_coo'),
        (lambda weight: weight.to('meta'), 'on the meta device'),
        (lambda weight: weight.to(torch.int8), 'of int8, and the model has float32'),
    ):
        rewrite(change)
        for partial in (False, True):
            with pytest.raises(CheckpointError, match=f'x.pth: layer.weight is {words}'):
                load(partial=partial)
    shutil.copy(trained / 'iter_4.pth', file)
    load()
    flip(file)
    with pytest.raises(CheckpointError, match=r'x.pth cannot be read as a checkpoint \(Bad CRC-32'):
        load()


def without(content: dict, *keys: str) -> dict:
    return {key: value for key, value in content.items() if key not in keys}


CHANGES = {
    'weights alone': (lambda good: good['state_dict'], 'it has weights, and no .* under meta, message_hub, optimizer'),
    'published': (lambda good: without(good, 'message_hub', 'optimizer'), 'no .* under message_hub, optimizer. To beg'),
    'no meta': (lambda good: {**good, 'meta': None}, 'no state of a training under meta. To begin a new run'),
    'words for meta': (lambda good: {**good, 'meta': 'x'}, 'no state of a training under meta'),
    'no iter': (lambda good: {**good, 'meta': without(good['meta'], 'iter')}, 'its meta has iter=None'),
    'words for iter': (lambda good: {**good, 'meta': {**good['meta'], 'iter': '4'}}, "its meta has iter='4'"),
    'words for epoch': (lambda good: {**good, 'meta': {**good['meta'], 'epoch': 'x'}}, "its meta has epoch='x'"),
    'words for seed': (lambda good: {**good, 'meta': {**good['meta'], 'seed': 'x'}}, "its seed is 'x'"),
    'another hub': (lambda good: {**good, 'message_hub': {}}, 'its message_hub is none of mmengine'),
    'another optimizer': (
        lambda good: {**good, 'optimizer': {**good['optimizer'], 'param_groups': []}},
        'fits the model, but its optimizer or its schedules do not fit .*different number of parameter groups',
    ),
    'weights of nothing': (lambda good: {**good, 'state_dict': None}, 'has no tensors under state_dict'),
}


@pytest.mark.parametrize('name', CHANGES)
def test_what_no_training_can_go_on_from(trained: Path, tmp_path: Path, name: str):
    """The file is named, and what to do; in the work dir the file before it is taken."""
    change, said = CHANGES[name]
    good, file = torch.load(trained / 'iter_4.pth', weights_only=False), tmp_path / 'x.pth'
    torch.save(change(good), file)
    with pytest.raises(CheckpointError, match=f'x.pth.*{said}'):
        runner(tmp_path / 'work', [1.0] * 4, load_from=str(file), resume=True).train()
    if 'alone' in name or 'iter' in name:
        shutil.copy(trained / 'iter_2.pth', tmp_path)
        file.rename(tmp_path / 'iter_9.pth')
        assert newest_checkpoint(str(tmp_path)).path == str(tmp_path / 'iter_2.pth')


def test_what_old_programs_wrote_is_not_run(trained: Path, tmp_path: Path):
    """mmengine would run the config in a checkpoint as Python."""
    good = torch.load(trained / 'iter_2.pth', weights_only=False)
    good['meta']['config'] = f'open({str(tmp_path / "ran")!r}, "w")'
    torch.save(good, tmp_path / 'x.pth')
    run = runner(tmp_path / 'work', [1.0] * 4, load_from=str(tmp_path / 'x.pth'), resume=True)
    run.train()
    assert run.iter == 4 and not (tmp_path / 'ran').exists()


def test_a_training_that_counts_otherwise(trained: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match='counts iterations, and the config counts epochs.*load_from=.*2.pth'):
        runner(tmp_path, [1.0], by_epoch=True, load_from=str(trained / 'iter_2.pth'), resume=True).train()
    runner(tmp_path / 'epoch', [1.0, 2.0], by_epoch=True).train()
    file = str(tmp_path / 'epoch/iter_2.pth')
    with pytest.raises(CheckpointError, match='counts epochs, and the config counts iterations'):
        runner(tmp_path / 'other', [1.0] * 4, load_from=file, resume=True).train()


def test_other_schedules_are_told(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = runner(tmp_path, [1.0] * 4, load_from=str(trained / 'iter_2.pth'), resume=True)
    run.param_schedulers = [dict(type='ConstantLR', by_epoch=False)]
    run.logger.addHandler(caplog.handler)
    run.train()
    assert 'has the states of 0 schedules, and the config has 1' in caplog.text


def test_weights_alone_begin_a_training_with_averages(trained: Path, tmp_path: Path):
    """mmengine's EMAHook looks for them under state_dict."""
    torch.save(torch.load(trained / 'iter_4.pth', weights_only=False)['state_dict'], tmp_path / 'x.pth')
    run = runner(tmp_path / 'work', [1.0], load_from=str(tmp_path / 'x.pth'))
    run.register_hook(dict(type='EMAHook'))
    run.train()
    assert run.iter == 1


def test_an_address_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_names(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-3, 'Temporary failure in name resolution')

    monkeypatch.setattr(socket, 'getaddrinfo', no_names)
    said = 'cannot be downloaded .*name resolution.*Copy it to this machine'
    run = runner(tmp_path, [1.0], load_from='https://host.invalid/x.pth')
    with pytest.raises(CheckpointError, match=f'https://host.invalid/x.pth {said}'):
        run.train()
    run = runner(tmp_path / 'other', [1.0])
    run.model.init_cfg = dict(type='Pretrained', checkpoint='https://host.invalid/y.pth')
    with pytest.raises(CheckpointError, match=f"what the model's init_cfg names {said}"):
        run.train()


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), RuntimeError('PytorchStreamWriter failed')])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception):
    run = runner(tmp_path, [1.0] * 6)

    def full(checkpoint: dict, path: str, **options: object) -> None:
        Path(path).write_bytes(b'PK')
        if 'iter_4' in path:
            raise error
        torch.save(checkpoint, path)

    monkeypatch.setattr('mmengine.runner.runner.save_checkpoint', full)
    with pytest.raises(OutputError, match=r'iter_4.pth cannot be written .*The last checkpoint is .*iter_2.pth'):
        run.train()
    assert sorted(path.name for path in tmp_path.glob('iter*')) == ['iter_2.pth']


def test_two_trainings_in_one_folder(tmp_path: Path):
    """A process holds the lock until it ends, and then nothing is left of it."""
    code = (
        'import sys, time; from ss_backbones.training.work_dir_lock import lock\n'
        f'held = lock({str(tmp_path)!r}); print("held", flush=True); time.sleep(60)'
    )
    other = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(UsageError, match=f'process {other.pid} on .* is training there. Take another place'):
            runner(tmp_path, [1.0])
    finally:
        other.kill()
        other.wait()
    held = lock(str(tmp_path))
    assert (tmp_path / '.lock').read_text().startswith(f'process {os.getpid()} ')
    held.close()


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def lockf(*arguments: object) -> None:
        raise OSError(37, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', lockf)
    assert lock(str(tmp_path)) is not None
    assert lock(str(tmp_path / 'nowhere')) is None
