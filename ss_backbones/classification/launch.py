"""What training and evaluating share: the command line, the data's place, processes, and words for what goes wrong."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..checkpoints.files import CheckpointError
from ..openmmlab.command_line import BAD_OPTIONS, Parser, UsageError, explain_options, read_config
from .dataset import STREAMS
from .errors import DataError

MODEL = 'ImageClassifier'
_READ_BY_MMENGINE = ('find_unused_parameters', 'sync_bn', 'compile')  # beside the arguments of its Runner
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def make_parser(description: str) -> Parser:
    """A parser with the arguments that training and evaluating share."""
    parser = Parser(description=description, allow_abbrev=False)
    parser.add_argument('config', metavar='CONFIG', help='a config such as those in configs/imagenet/')
    parser.add_argument('--data-root', metavar='DIR', help='holds train/ and val/ with a folder for each class')
    parser.add_argument(
        '--dataset', metavar='NAME', help="timm's name of other kinds of data: wds/, hfds/NAME, torch/NAME, ..."
    )
    parser.add_argument('--work-dir', metavar='DIR', help='for logs and checkpoints (default: work_dirs/CONFIG)')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='(default: none)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    return parser


def run(parser: Parser, main: Callable[[Namespace, Config], None], tool: str, argv: Sequence[str] | None) -> None:
    """Parse, read the config, and call ``main``; whatever is the user's to mend ends in words and exit code 2."""
    try:
        try:
            arguments = parser.parse_args(argv)
        except BAD_OPTIONS as error:
            raise explain_options(error) from error
        config = read_config(arguments.config, arguments.cfg_options)
        _check_kind(config, arguments.config)
        _check_keys(arguments)
        config.work_dir = arguments.work_dir or config.get('work_dir') or f'work_dirs/{Path(arguments.config).stem}'
        config.launcher = arguments.launcher
        _place_data(config, arguments)
        _leave_out_tensorboard(config)
        _start_processes(config, arguments.launcher)
        main(arguments, config)
    except (UsageError, DataError, CheckpointError) as error:
        # from a worker process comes a whole traceback, with the words in its last line
        text = str(error)
        if isinstance(error, DataError):
            text = text.rpartition(f'{DataError.__name__}: ')[2].strip()
        sys.stderr.write(f'tools/{tool}.py: {text}\n')  # in one piece, as all processes may say it at once
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write(f'tools/{tool}.py: stopped. A training goes on from its last checkpoint with --resume\n')
        raise SystemExit(130) from None
    finally:
        _leave_processes(sys.exc_info()[0])


def _check_keys(arguments: Namespace) -> None:
    """mmengine takes any option; one for a key that nothing reads would change nothing, in silence."""
    known = {*read_config(arguments.config, {}), *signature(Runner.__init__).parameters, *_READ_BY_MMENGINE}
    for key in arguments.cfg_options:
        first = key.split('.')[0]
        if first not in known:
            near = get_close_matches(first, known, 1)
            raise UsageError(
                f'--cfg-options {key}: there is no {first} in {arguments.config}{f"; perhaps {near[0]}" * bool(near)}.'
            )


def _check_kind(config: Config, path: str) -> None:
    kind = str((config.get('model') or {}).get('type', ''))
    if kind.rpartition('.')[2] != MODEL:
        raise UsageError(
            f'{path} is no config of a classifier: its model is {kind or "missing"}, expected ss_backbones.{MODEL}. '
            'Detectors and segmenters are trained with tools/train.py.'
        )


def _place_data(config: Config, arguments: Namespace) -> None:
    for name in LOADERS:
        loader = config.get(name)
        if not loader:
            continue
        if arguments.data_root:
            loader.dataset.data_root = arguments.data_root
        if arguments.dataset is not None:
            loader.dataset.name = arguments.dataset
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
