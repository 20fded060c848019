"""What must not pass in silence: losses and weights that are not finite, full disks, two trainings in one folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from ss_backbones.errors import OutputError, TrainingError, UsageError  # noqa: E402
from ss_backbones.training import Runner  # noqa: E402
from ss_backbones.training.hooks import finite  # noqa: E402
from ss_backbones.training.work_dir_lock import lock  # noqa: E402


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
        experiment_name=f'{folder.name}-{len(values)}',
        cfg=Config(options),
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
