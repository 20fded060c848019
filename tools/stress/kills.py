"""Kill trainings of a detector, a segmenter and a classifier with SIGKILL, every other one while it writes a
checkpoint, go on with --resume, and compare the last checkpoint with that of a training that was let alone: it must be
the same bit by bit.

They are small (a minute or less each), with images of 32 or 64 pixels that are read in the training process itself.
"""

import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from checkout import finish, parser

_CONTEXT = multiprocessing.get_context('forkserver')
_PATIENCE = 600  # seconds for one training
_WRITING = '*.part'  # a checkpoint that is not complete
_KILLED = ('killed', 'writing')  # without and with such a file left


@dataclass(frozen=True)
class Training:
    """A command, its config, and the name of its last checkpoint."""

    command: str
    config: Path
    last: str


@dataclass(frozen=True)
class Kill:
    """After so many iterations, and if so not before a checkpoint is being written, and so many seconds then."""

    iterations: int
    while_writing: bool
    delay: float


def write(kind: str, folder: Path) -> Training:
    """A training of few iterations with several checkpoints."""
    if kind == 'classifier':
        from tiny_training import write_training

        return Training('pretrain', write_training(folder, epochs=3, more='randomness = dict(seed=0)'), 'epoch_3.pth')
    from tiny_configs import DETECTOR, SEGMENTER, config_of

    if kind == 'detector':
        config, last = config_of(DETECTOR, folder, **{'train_cfg.max_epochs': 4}), 'epoch_4.pth'
    else:
        config, last = config_of(SEGMENTER, folder, **{'train_cfg.max_iters': 8}), 'iter_8.pth'
    config.custom_imports = dict(imports=['ss_backbones'])
    config.dump(folder / 'config.py')
    return Training('train', folder / 'config.py', last)


def _train(training: Training, work_dir: Path, resume: bool, iterations: object) -> None:
    """In a process of its own; iterations counts those that are done."""
    os.environ['OMP_NUM_THREADS'] = '1'
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ss_backbones import commands

    torch.set_num_threads(1)
    work_dir.mkdir(exist_ok=True)
    said = os.open(work_dir.with_suffix('.txt'), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(said, stream)
    call_hook = Runner.call_hook

    def counting(self: Runner, name: str, **options: object) -> None:
        if name == 'after_train_iter':
            iterations.value = self.iter + 1
        call_hook(self, name, **options)

    # formatting the config for the log takes longer than such a training
    with mock.patch.object(Config, 'pretty_text', ''), mock.patch.object(Runner, 'call_hook', counting):
        arguments = [str(training.config), '--work-dir', str(work_dir), *(['--resume'] if resume else [])]
        sys.exit(commands.run(training.command, arguments))


def run(training: Training, work_dir: Path, *, resume: bool = False, kill: Kill | None = None) -> str:
    """Train to the end, or until it is killed; what came of it in a word."""
    iterations = _CONTEXT.Value('i', 0)
    process = _CONTEXT.Process(target=_train, args=(training, work_dir, resume, iterations))
    process.start()
    if kill is not None:
        while process.is_alive() and iterations.value < kill.iterations:
            time.sleep(1e-4)
        while process.is_alive() and kill.while_writing and not list(work_dir.glob(_WRITING)):
            time.sleep(1e-4)
        time.sleep(kill.delay)
        process.kill()
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        return 'does not end'
    if process.exitcode == 0:
        return 'too late' if kill else 'ended'
    if process.exitcode > 0:
        return f'exit status {process.exitcode}'
    return _KILLED[bool(list(work_dir.glob(_WRITING)))]


def difference(one: Path, other: Path) -> str:
    """What differs in two checkpoints, or nothing."""
    from tiny_training import assert_same, load

    try:
        assert_same(load(one), load(other))
    except (AssertionError, OSError) as error:
        return str(error)
    return ''


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--count', type=int, default=20, help='kills of each (20)')
    arguments.add_argument('--kinds', nargs='+', default=['detector', 'segmenter', 'classifier'])
    given = arguments.parse_args()
    counts, wrong = {}, []
    with tempfile.TemporaryDirectory() as place:
        for kind in given.kinds:
            folder = Path(place) / kind
            folder.mkdir()
            training, counts[kind] = write(kind, folder), Counter()
            if (found := run(training, folder / 'whole')) != 'ended':
                print(f'{kind}, let alone: {found}', (folder / 'whole.txt').read_text()[-3000:], sep='\n')
                return 1
            case = 0
            while sum(counts[kind][how] for how in _KILLED) < given.count:  # some end before they are killed
                case += 1
                work_dir, chance = folder / str(case), random.Random(f'{given.seed} {kind} {case}')
                delay = chance.random() * (0.01 if case % 2 else 0.3)
                found = run(training, work_dir, kill=Kill(chance.randrange(8), bool(case % 2), delay))
                counts[kind][found] += 1
                problem = run(training, work_dir, resume=True)
                problem = '' if problem == 'ended' else problem
                problem = problem or difference(work_dir / training.last, folder / 'whole' / training.last)
                result = 'WRONG' if problem else 'same'
                counts[kind][result] += 1
                print(f'{kind} {case}: {found}, {result}', file=sys.stderr, flush=True)
                if not problem:
                    shutil.rmtree(work_dir)
                else:
                    text = re.sub(r'\s+', ' ', work_dir.with_suffix('.txt').read_text())[-400:]
                    wrong.append(f'{kind}, case {case}, {found}: {problem} {text}')
    return finish('training', ('killed', 'writing', 'too late', 'same', 'WRONG'), counts, wrong)


if __name__ == '__main__':
    # imported once for all trainings, as that takes longer than one of them
    _CONTEXT.set_forkserver_preload(
        ['mmdet.apis', 'mmdet.datasets', 'mmdet.models', 'mmseg.apis', 'mmseg.datasets', 'mmseg.models']
        + ['ss_backbones.classification', 'ss_backbones.openmmlab', 'ss_backbones.training']
    )
    sys.exit(main())
