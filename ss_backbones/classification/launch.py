"""What training and evaluating share: the config as the command line has it, the data's place, and the processes."""

import gc
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..errors import DataError, UsageError
from ..openmmlab.configs import read_config
from .dataset import STREAMS

MODEL = 'ImageClassifier'
_READ_BY_MMENGINE = ('find_unused_parameters', 'sync_bn', 'compile')  # beside the arguments of its Runner
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@contextmanager
def launched(
    name: str,
    options: Mapping[str, Any],
    *,
    data_root: str | None,
    dataset: str | None,
    work_dir: str | None,
    launcher: str,
) -> Iterator[Config]:
    """A config with what the command line says, while this process belongs to those that were launched together.

    Args:
        name: The config.
        options: What --cfg-options holds.
        data_root: Where the data are; None for the config's.
        dataset: timm's name for their kind; None for the config's.
        work_dir: The folder for logs and checkpoints; None for the config's, or one by the config's name.
        launcher: What started the processes: 'none', 'pytorch' or 'slurm'.

    Raises:
        UsageError: The config is none of a classifier, an option is for nothing in it, or there was no such launcher.
        DataError: What goes wrong with the data inside of the context, in a worker process too.
    """
    config = read_config(name, options)
    _check_kind(config, name)
    _check_keys(name, options)
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{Path(name).stem}'
    config.launcher = launcher
    _place_data(config, data_root, dataset)
    _leave_out_tensorboard(config)
    try:
        _start_processes(config, launcher)
        yield config
    except DataError as error:
        # from a worker process comes a whole traceback, with the words in its last line
        raise DataError(str(error).rpartition(f'{DataError.__name__}: ')[2].strip()) from error
    finally:
        _leave_processes(sys.exc_info()[0])


def _check_keys(name: str, options: Mapping[str, Any]) -> None:
    """mmengine takes any option; one for a key that nothing reads would change nothing, in silence."""
    known = {*read_config(name, {}), *signature(Runner.__init__).parameters, *_READ_BY_MMENGINE}
    for key in options:
        first = key.split('.')[0]
        if first not in known:
            near = get_close_matches(first, known, 1)
            advice = f'; perhaps {near[0]}' if near else ''
            raise UsageError(f'--cfg-options {key}: there is no {first} in {name}{advice}.')


def _check_kind(config: Config, name: str) -> None:
    kind = (config.get('model') or {}).get('type', '')
    kind = getattr(kind, '__name__', str(kind))  # a pure-Python config has classes
    if kind.rpartition('.')[2] != MODEL:
        raise UsageError(
            f'{name} is no config of a classifier: its model is {kind or "missing"}, expected ss_backbones.{MODEL}. '
            'Detectors and segmenters are trained with ss-backbones train.'
        )


def _place_data(config: Config, data_root: str | None, dataset: str | None) -> None:
    for name in LOADERS:
        loader = config.get(name)
        if not loader:
            continue
        if data_root:
            loader.dataset.data_root = data_root
        if dataset is not None:
            loader.dataset.name = dataset
        if not torch.cuda.is_available():
            loader.pin_memory = False  # there is nothing to copy to, and torch would warn in every epoch
        if loader.dataset.get('name', '').startswith(STREAMS):
            loader.sampler = None
            loader.dataset.update(batch_size=loader.batch_size, num_workers=loader.num_workers)
            loader.dataset.seed = config.get('randomness', {}).get('seed') or 0


def _leave_out_tensorboard(config: Config) -> None:
    backends = config.get('visualizer', {}).get('vis_backends', [])
    kept = [backend for backend in backends if backend.type != 'TensorboardVisBackend']
    if len(kept) < len(backends) and find_spec('tensorboard') is None:
        config.visualizer.vis_backends = kept
        print_log(
            'tensorboard is not installed, so there will be no curves for it: pip install tensorboard',
            level=logging.WARNING,
        )


def _start_processes(config: Config, launcher: str) -> None:
    """Join the other processes; with gloo where there is no GPU, which mmengine does not provide for."""
    if launcher == 'none':
        return
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UsageError('--launcher pytorch is for torchrun, which sets RANK. Start with tools/dist_train.sh.')
    if launcher == 'slurm' and 'SLURM_PROCID' not in os.environ:
        raise UsageError('--launcher slurm is for srun, which sets SLURM_PROCID. Start with tools/slurm_train.sh.')
    if not is_distributed():
        if torch.cuda.is_available():
            _check_gpus(int(os.environ.get('LOCAL_RANK' if launcher == 'pytorch' else 'SLURM_LOCALID', 0)))
            init_dist(launcher, **config.get('env_cfg', {}).get('dist_cfg', {'backend': 'nccl'}))
        else:
            if launcher == 'slurm':
                names = {'RANK': 'PROCID', 'LOCAL_RANK': 'LOCALID', 'WORLD_SIZE': 'NTASKS'}
                os.environ.update({name: os.environ[f'SLURM_{theirs}'] for name, theirs in names.items()})
            torch.distributed.init_process_group('gloo')
    if not torch.cuda.is_available():
        config.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)


def _leave_processes(error: type[BaseException] | None) -> None:
    """Part from the other processes: gloo's threads, left alone, abort the process as it exits, now and then.

    After an error nccl might wait here for processes that do not come.
    """
    gc.collect()  # of the models and optimisers, which hold the group beyond its end
    if is_distributed() and (error is None or torch.distributed.get_backend() == 'gloo'):
        torch.distributed.destroy_process_group()


def _check_gpus(local_rank: int) -> None:
    """A process takes the GPU of its number."""
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise UsageError(
            f'process {local_rank} of this machine sees {there} GPUs and has none of its own. Start one process for '
            'each GPU; with Slurm each task must see all GPUs of its node: use --gpus-per-node, not --gpus-per-task.'
        )
