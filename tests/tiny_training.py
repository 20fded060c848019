"""Trainings of a small classifier on a few generated images, for the tests that stop, resume and distribute them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config
from tiny_images import write_classes, write_config

from ss_backbones import commands
from ss_backbones.training.loops import EpochLoop

BATCHES = 6  # of an epoch
_RUNS = count()

_MORE = """
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=2))
visualizer = dict(vis_backends=[])
log_level = 'WARNING'
"""


class Crash(Exception):
    """What a run dies of here."""


def crash() -> None:
    raise Crash


def write_training(folder: Path, epochs: int, more: str = '') -> Path:
    """A config with all augmentation, and beside it 48 images to train with and 15, an odd number, to validate with.

    ``more`` is Python at the config's end.
    """
    data = write_classes(folder / 'data', train=16, val=5)
    return write_config(folder / 'tiny.py', _MORE + more, epochs, data)


def train(config: Path, work_dir: Path, *arguments: str, code: int = 0, **options: object) -> None:
    """ss-backbones pretrain in this process, to that exit code; ``options`` are --cfg-options, with __ for a dot."""
    # mmengine keeps its loggers and message hubs by this name
    named = {'experiment_name': f'run{next(_RUNS)}', **options}
    pairs = [f'{key.replace("__", ".")}={value}' for key, value in named.items()]
    with mock.patch.object(Config, 'pretty_text', ''):  # formatting the config for the log takes longer than an epoch
        argv = [str(config), '--work-dir', str(work_dir), *arguments, '--cfg-options', *pairs]
        assert commands.run('pretrain', argv) == code


@contextmanager
def before_iteration(number: int, do: Callable[[], None]) -> Iterator[None]:
    """``do`` before the training step with this number, counted from 0."""
    run_iter = EpochLoop.run_iter

    def patched(self: EpochLoop, idx: int, batch: object) -> None:
        if self.iter == number:
            do()
        run_iter(self, idx, batch)

    with mock.patch.object(EpochLoop, 'run_iter', patched):
        yield


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location='cpu', weights_only=False)


def log_of(work_dir: Path) -> str:
    """What the runs in a folder have logged."""
    return ''.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


def tensors(value: object, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors and numbers in nested dicts and lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, f'{name}/{key}')
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from tensors(item, f'{name}/{i}')
    elif isinstance(value, torch.Tensor | float | int):
        yield name, torch.as_tensor(value)


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Weights, averages, optimiser and schedules are the same bit by bit."""
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert (part in mine) == (part in theirs)
        left, right = dict(tensors(mine.get(part))), dict(tensors(theirs.get(part)))
        assert left.keys() == right.keys()
        differing = [name for name in left if not torch.equal(left[name], right[name])]
        assert not differing, f'{part}: {len(differing)} of {len(left)} differ, such as {differing[0]}'
    assert len(left) > 0
